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

// How large an answer may be, in bytes. The figures keep the peak of a process's memory below 64 MiB,
// whatever a server answers.
const (
	// maxAnswer is for an answer that is no list, for an entry of a list, and for the headers of any answer.
	maxAnswer = 4 << 20
	// maxList is for a list. Modal's lists have no pages, so a large workspace has long ones.
	maxList = 32 << 20
	// maxHeld is for a list together with its decoded entries.
	maxHeld = 56 << 20
)

// How many entries a list may have. No workspace has more.
const (
	maxServiceUsers = 200_000
	maxEnvironments = 10_000
	maxMembers      = 200_000
	maxMemberTokens = 200_000
	// maxRoles is for the environment roles of one service user.
	maxRoles = 5_000
)

func tooMany(what string, count, limit int) error {
	if count <= limit {
		return nil
	}
	return fmt.Errorf("it has %d %s, which is too many to be true", count, what)
}

var errMalformed = errors.New("it is no message of Modal's")

// reader is the codec of one attempt. It reads the answer within its bounds and stores the flaw of a bad
// answer. It returns no error for one, because the call would then be retried.
//
// An answer is a list, or a message without repeated fields. Both take little more memory than their bytes.
type reader struct{ flaw error }

// Name is empty: the content type stays "application/grpc", as Modal's own clients send it.
func (*reader) Name() string { return "" }

// Marshal encodes a request as gRPC's own codec does.
func (*reader) Marshal(request any) (mem.BufferSlice, error) {
	return encoding.GetCodecV2(grpcproto.Name).Marshal(request)
}

// Unmarshal decodes an answer, which is a *list or a message.
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

// limitOf returns how large an answer may be.
func limitOf(answer any) int {
	if list, is := answer.(*list); is {
		return list.limit
	}
	return maxAnswer
}

// list is an answer with many entries. All entries are counted before the first is decoded. They are decoded
// one after the other, so that only the kept fields stay in memory.
type list struct {
	what  string    // what its entries are, for people
	field int       // of its entries
	most  int       // how many entries it may have
	limit int       // how many bytes it may have
	clean *redactor // counts the texts that are kept

	size  int             // how many bytes are kept of each entry, beside texts
	begin func(count int) // starts anew with that many entries
	use   func(entry []byte) error
}

// listOf asks for a list and returns its entries as decode makes them.
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

// read counts the entries and then decodes them. After a failed attempt clean.kept still counts its texts,
// which may be garbage that was not collected yet.
func (l *list) read(data mem.BufferSlice) error {
	count, wire := 0, data.Len()+frameSize*len(data)
	err := l.walk(data, func(r *mem.Reader, size int) error {
		count++
		_, err := r.Discard(size)
		return err
	})
	if err == nil {
		err = tooMany(l.what, count, l.most)
	}
	if err == nil {
		err = l.fits(wire + count*l.size)
	}
	if err != nil {
		return err
	}
	l.begin(count)
	var entry []byte
	return l.walk(data, func(r *mem.Reader, size int) error {
		if size > maxAnswer {
			return fmt.Errorf("it has an entry of %d bytes, which is too large to be true", size)
		}
		entry = append(entry[:0], make([]byte, size)...)
		if _, err := io.ReadFull(r, entry); err != nil {
			return err
		}
		if err := l.use(entry); err != nil {
			return err
		}
		return l.fits(wire + count*l.size + l.clean.kept)
	})
}

func (l *list) fits(held int) error {
	if held <= maxHeld {
		return nil
	}
	return fmt.Errorf("its %s take more than %d MiB of memory, which is too large to be true", l.what, maxHeld>>20)
}

// walk calls use with each entry's size, and with where the entry begins.
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

// sizeOf returns how many bytes of a field follow, once its number is read.
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
	default: // no field of Modal's is a group
		return 0, errMalformed
	}
}

// value is the value of a field as it was sent: bytes, or the number behind all other types.
type value struct {
	bytes  []byte
	number uint64
}

// date reads a number of seconds since 1970.
func (v value) date() time.Time { return fromEpoch(math.Float64frombits(v.number)) }

// eachField calls use with each field of an entry, and stops at its first error.
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
			continue // no field that is read here is of these types
		}
		if err := use(int(number), v); err != nil {
			return err
		}
	}
	return nil
}
