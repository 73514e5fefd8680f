// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"time"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// These limits, in bytes, bound the size of an answer. They keep the peak of a process's memory below
// 64 MiB for any answer of a server.
const (
	// maxAnswer limits an answer that is not a list, one entry of a list, and the headers of any answer.
	maxAnswer = 4 << 20
	// maxList limits a list. Modal's lists have no pages, so a large workspace has long lists.
	maxList = 32 << 20
	// maxListMemory limits a list together with its decoded entries.
	maxListMemory = 56 << 20
)

// These limits bound the number of entries in a list. No workspace has more.
const (
	maxServiceUsers = 200_000
	maxEnvironments = 10_000
	maxMembers      = 200_000
	maxMemberTokens = 200_000
	// maxRoles limits the environment roles of one service user.
	maxRoles = 5_000
	// maxCustomRoles limits the custom roles of a workspace, and maxPermissions the permissions of one.
	maxCustomRoles, maxPermissions = 5_000, 1_000
	// maxAuditEntries limits the entries of the audit log that one call requests.
	maxAuditEntries = 1_000
)

// checkCount returns an error if a list has more entries than a real workspace can have.
func checkCount(what string, count, limit int) error {
	if count <= limit {
		return nil
	}
	return fmt.Errorf("it has %d %s, which is more than a workspace can have", count, what)
}

var errMalformed = errors.New("it is not a message of Modal's protocol")

// reader is the codec of one attempt. It decodes the answer within the size limits. A bad answer sets flaw
// instead of returning an error, because the caller would retry the call after an error.
//
// An answer is either a list, or a message without repeated fields. Both need little more memory than their
// size on the wire.
type reader struct{ flaw error }

// Name returns the empty string, so that the content type stays "application/grpc", as Modal's own clients
// send it.
func (*reader) Name() string { return "" }

// Marshal encodes a request exactly as gRPC's own codec does.
func (*reader) Marshal(request any) (mem.BufferSlice, error) {
	return encoding.GetCodecV2(grpcproto.Name).Marshal(request)
}

// Unmarshal decodes an answer into a *list or a message.
func (r *reader) Unmarshal(data mem.BufferSlice, answer any) error {
	switch answer := answer.(type) {
	case *list:
		r.flaw = answer.read(data)
	case proto.Message:
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data.Materialize(), answer) != nil {
			r.flaw = errMalformed
		}
	default:
		return fmt.Errorf("cannot read an answer into %T", answer)
	}
	return nil
}

// limitOf returns the largest allowed size of an answer in bytes.
func limitOf(answer any) int {
	if list, is := answer.(*list); is {
		return list.limit
	}
	return maxAnswer
}

// list is an answer with many entries. It counts all entries before it decodes the first, and decodes them
// one after the other. Only the needed fields of each entry stay in memory.
type list struct {
	what  string    // the entries' name in error messages
	field int       // the field number of an entry
	most  int       // the highest allowed number of entries
	limit int       // the highest allowed size in bytes
	clean *redactor // counts the memory of the texts that are kept

	size  int                      // bytes of memory for each decoded entry, without its texts
	begin func(count int)          // starts again with room for count entries
	use   func(entry []byte) error // decodes and stores an entry
}

// listOf calls a method that answers a list, and returns the entries that decode makes.
func listOf[T any](ctx context.Context, c *Client, method string, request proto.Message, l list, decode func(entry []byte) (T, error)) ([]T, error) {
	var kept []T
	l.size = int(reflect.TypeFor[T]().Size())
	l.begin = func(count int) { kept = make([]T, 0, count) }
	l.use = func(entry []byte) error {
		made, err := decode(entry)
		kept = append(kept, made)
		return err
	}
	if err := c.conn.Invoke(ctx, method, request, &l); err != nil {
		return nil, err
	}
	return kept, nil
}

// read counts the entries and then decodes them. After a failed attempt clean.kept still includes the texts
// of that attempt, because the garbage collector may not have freed them yet.
func (l *list) read(data mem.BufferSlice) error {
	count, wire := 0, data.Len()+frameSize*len(data)
	err := l.walk(data, func(r *mem.Reader, size int) error {
		count++
		_, err := r.Discard(size)
		return err
	})
	if err == nil {
		err = checkCount(l.what, count, l.most)
	}
	if err == nil {
		err = l.checkMemory(wire + count*l.size)
	}
	if err != nil {
		return err
	}
	l.begin(count)
	var entry []byte
	return l.walk(data, func(r *mem.Reader, size int) error {
		if size > maxAnswer {
			return fmt.Errorf("it has an entry of %d bytes, which is larger than a real entry can be", size)
		}
		entry = append(entry[:0], make([]byte, size)...)
		if _, err := io.ReadFull(r, entry); err != nil {
			return err
		}
		if err := l.use(entry); err != nil {
			return err
		}
		return l.checkMemory(wire + count*l.size + l.clean.kept)
	})
}

func (l *list) checkMemory(bytes int) error {
	if bytes <= maxListMemory {
		return nil
	}
	return fmt.Errorf("its %s take more than %d MiB of memory, which is more than a workspace can have", l.what, maxListMemory>>20)
}

// walk calls use for each entry, with a reader at the entry's first byte and the entry's size.
func (l *list) walk(data mem.BufferSlice, use func(r *mem.Reader, size int) error) error {
	r := data.Reader()
	defer r.Close()
	for r.Remaining() > 0 {
		tag, err := binary.ReadUvarint(r)
		if err != nil {
			return errMalformed
		}
		number, kind := protowire.DecodeTag(tag)
		size, err := sizeOf(kind, r)
		if err != nil || number < 1 || size > r.Remaining() {
			return errMalformed
		}
		if kind == protowire.BytesType && int(number) == l.field {
			err = use(r, size)
		} else {
			_, err = r.Discard(size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sizeOf returns the number of bytes that remain of a field after its tag. It consumes the length prefix, or
// the whole number of a varint.
func sizeOf(kind protowire.Type, r *mem.Reader) (size int, err error) {
	var number uint64
	switch kind {
	case protowire.BytesType:
		number, err = binary.ReadUvarint(r)
		return int(min(number, math.MaxInt32)), err
	case protowire.VarintType:
		_, err = binary.ReadUvarint(r)
		return 0, err
	case protowire.Fixed64Type:
		return 8, nil
	case protowire.Fixed32Type:
		return 4, nil
	default: // no message of Modal uses groups
		return 0, errMalformed
	}
}

// value is the undecoded value of a field: bytes, or a number for all other types.
type value struct {
	bytes  []byte
	number uint64
}

// date converts a number of seconds since 1970 to a time.
func (v value) date() time.Time { return fromEpoch(math.Float64frombits(v.number)) }

// eachField calls use with each field of an entry. It stops at the first error.
func eachField(entry []byte, use func(field int, v value) error) error {
	for len(entry) > 0 {
		number, kind, n := protowire.ConsumeTag(entry)
		if n < 0 {
			return errMalformed
		}
		entry = entry[n:]
		var v value
		switch kind {
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(entry)
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(entry)
		case protowire.Fixed64Type:
			v.number, n = protowire.ConsumeFixed64(entry)
		default:
			v, n = value{}, protowire.ConsumeFieldValue(number, kind, entry)
		}
		if n < 0 {
			return errMalformed
		}
		entry = entry[n:]
		if kind == protowire.Fixed32Type || kind == protowire.StartGroupType {
			continue // this package reads no field of these types
		}
		if err := use(int(number), v); err != nil {
			return err
		}
	}
	return nil
}
