// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// field encodes a field of a message.
func field(number int, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, protowire.Number(number), protowire.BytesType), value)
}

// An answer that is not a list is decoded whole, so the size limit must also bound its memory.
func TestAnswer_DecodedWholeHasNoRepeatedField(t *testing.T) {
	t.Parallel()
	for _, answer := range []proto.Message{
		&pb.TokenInfoGetResponse{}, &pb.ServiceUserCreateResponse{}, &pb.TokenFlowCreateResponse{}, &pb.TokenFlowWaitResponse{}, &emptypb.Empty{},
	} {
		requireNoneRepeated(t, answer.ProtoReflect().Descriptor())
	}
}

func requireNoneRepeated(t *testing.T, message protoreflect.MessageDescriptor) {
	t.Helper()
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		require.False(t, field.IsList() || field.IsMap(), field.FullName())
		if inner := field.Message(); inner != nil {
			requireNoneRepeated(t, inner)
		}
	}
}

func TestAnswer_UnreadableAnswerIsNotRetried(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		body []byte
		call string
		says string
	}{
		"no message":               {[]byte("\xff\xff"), "TokenInfoGet", "it is not a message of Modal's protocol"},
		"no list":                  {[]byte("\xff\xff"), "ServiceUserList", "it is not a message of Modal's protocol"},
		"a list cut short":         {field(1, make([]byte, 9))[:5], "ServiceUserList", "it is not a message of Modal's protocol"},
		"an entry cut short":       {field(2, []byte{0x0a, 0x05}), "EnvironmentList", "it is not a message of Modal's protocol"},
		"no environment role":      {field(1, field(10, []byte{0x0a})), "ServiceUserList", "it is not a message of Modal's protocol"},
		"field 0":                  {[]byte{0x02, 0x00}, "ServiceUserList", "it is not a message of Modal's protocol"},
		"too many members":         {bytes.Repeat(field(1, nil), 200_001), "WorkspaceMembersList", "it has 200001 members, which is more than a workspace can have"},
		"two service users":        {bytes.Repeat(field(1, nil), 2), "ServiceUserInfo", "it has 2 service users, which is more than a workspace can have"},
		"a large entry":            {field(2, make([]byte, 5<<20)), "EnvironmentList", "it has an entry of 5242880 bytes, which is larger than a real entry can be"},
		"a large answer":           {field(99, make([]byte, 4<<20)), "TokenInfoGet", "the answer is larger than 4 MiB, which is larger than a real answer can be"},
		"a large answer to Info":   {field(99, make([]byte, 4<<20)), "ServiceUserInfo", "the answer is larger than 4 MiB, which is larger than a real answer can be"},
		"a large list":             {field(99, make([]byte, 32<<20)), "ServiceUserList", "the answer is larger than 32 MiB, which is larger than a real answer can be"},
		"too many users in memory": {bytes.Repeat(field(1, field(1, make([]byte, 60))), 199_999), "ServiceUserList", "its service users take more than 56 MiB of memory, which is more than a workspace can have"},
		"a large create's answer":  {field(99, make([]byte, 4<<20)), createRPC, "the answer is larger than 4 MiB, which is larger than a real answer can be"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			calls := 0
			client := newClient(t, modalapi.Options{ServerURL: serveBytesOf(t, func() []byte { calls++; return c.body })})

			err := everyCall[c.call](t.Context(), client, someToken, "sv-1")

			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.True(t, modalapi.MayBeDone(err))
			require.Equal(t, 1, calls)
		})
	}
}

func TestAnswer_NewerFieldsAreIgnored(t *testing.T) {
	t.Parallel()
	entry, err := proto.Marshal(pb.ServiceUser_builder{Name: "ci", ServiceUserId: "sv-1"}.Build())
	require.NoError(t, err)
	newer := field(200, []byte("new"))
	newer = protowire.AppendFixed32(protowire.AppendTag(newer, 201, protowire.Fixed32Type), 7)
	newer = protowire.AppendFixed64(protowire.AppendTag(newer, 202, protowire.Fixed64Type), 7)
	newer = protowire.AppendVarint(protowire.AppendTag(newer, 203, protowire.VarintType), 7)
	client := newClient(t, modalapi.Options{ServerURL: serveBytes(t, append(newer, field(1, append(newer, entry...))...))})

	users, err := client.ServiceUsers(t.Context(), someToken)

	require.NoError(t, err)
	require.Equal(t, []modalapi.ServiceUser{{ID: "sv-1", Name: "ci", Roles: map[string]modalapi.EnvironmentRole{}}}, users)
}

func TestAnswer_TinyFramesEndTheConnection(t *testing.T) {
	t.Parallel()
	body := field(99, make([]byte, 1<<20))
	for size, cut := range map[int]bool{1: true, 100: true, 256: false, 16384: false} {
		client := newClient(t, modalapi.Options{ServerURL: serveFrames(t, frames{body: body, size: size})})

		_, err := client.Environments(t.Context(), someToken)

		if cut {
			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
			require.ErrorContains(t, err, "the server splits its answer into so many tiny frames that the connection was closed")
		} else {
			require.NoError(t, err, size)
		}
	}
}

func FuzzAnswer_ListsOfAnyBytesAreReadOrRefused(f *testing.F) {
	f.Add([]byte{})
	f.Add(field(1, field(10, field(3, []byte("main")))))
	f.Add([]byte{0x0b, 0x0c, 0xff, 0x01})
	var body []byte
	client, err := modalapi.New(modalapi.Options{ServerURL: serveBytesOf(f, func() []byte { return body })})
	require.NoError(f, err)
	f.Cleanup(func() { _ = client.Close() })
	f.Fuzz(func(t *testing.T, answer []byte) {
		body = answer
		for _, call := range []string{"ServiceUserList", "ServiceUserInfo", "EnvironmentList", "WorkspaceMembersList", "TokensList"} {
			if err := everyCall[call](t.Context(), client, someToken, "sv-1"); err != nil {
				require.ErrorContains(t, err, "cannot be trusted")
			}
		}
	})
}

// frames is an answer in frames of the given size, followed by many headers.
type frames struct {
	body    []byte
	size    int
	headers int
}

// serveFrames starts a server that answers every call with the given frames.
func serveFrames(t *testing.T, answer frames) (serverURL string) {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go newFramer(conn, answer).serve()
		}
	}()
	return "http://" + listener.Addr().String()
}

// framer is one connection of serveFrames.
type framer struct {
	*http2.Framer
	conn   net.Conn
	answer frames

	mu      sync.Mutex // guards the fields below and all writes
	out     bytes.Buffer
	wake    *sync.Cond
	windows map[uint32]int // by stream: the bytes that may still be sent; 0 is the connection
	initial int
}

func newFramer(conn net.Conn, answer frames) *framer {
	f := &framer{conn: conn, answer: answer, windows: map[uint32]int{0: 65535}, initial: 65535}
	f.wake = sync.NewCond(&f.mu)
	f.Framer = http2.NewFramer(&f.out, conn)
	return f
}

// flush sends the pending bytes. The caller must lock f.mu.
func (f *framer) flush() { _, _ = f.out.WriteTo(f.conn) }

func (f *framer) serve() {
	defer f.conn.Close()
	_, _ = io.ReadFull(f.conn, make([]byte, len(http2.ClientPreface)))
	_ = f.WriteSettings()
	f.flush()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		f.mu.Lock()
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if size, set := frame.Value(http2.SettingInitialWindowSize); set {
				f.initial = int(size)
			}
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.WritePing(true, frame.Data)
			}
		case *http2.WindowUpdateFrame:
			f.windows[frame.StreamID] += int(frame.Increment)
			f.wake.Broadcast()
		case *http2.HeadersFrame:
			f.windows[frame.StreamID] = f.initial
			go f.send(frame.StreamID)
		}
		f.flush()
		f.mu.Unlock()
	}
}

func (f *framer) send(stream uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writeHeaders(stream, false, hpack.HeaderField{Name: ":status", Value: "200"}, hpack.HeaderField{Name: "content-type", Value: "application/grpc"})
	rest := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(f.answer.body))), f.answer.body...)
	for len(rest) > 0 {
		size := min(f.answer.size, len(rest))
		for min(f.windows[0], f.windows[stream]) < size {
			f.flush()
			f.wake.Wait()
		}
		f.windows[0], f.windows[stream] = f.windows[0]-size, f.windows[stream]-size
		_ = f.WriteData(stream, false, rest[:size])
		if rest = rest[size:]; f.out.Len() > 1<<16 {
			f.flush()
		}
	}
	trailers := []hpack.HeaderField{{Name: "grpc-status", Value: "0"}}
	for range f.answer.headers {
		trailers = append(trailers, hpack.HeaderField{Name: "a"})
	}
	f.writeHeaders(stream, true, trailers...)
	f.flush()
}

// writeHeaders writes a small header block in one frame and a large block in several frames.
func (f *framer) writeHeaders(stream uint32, end bool, headers ...hpack.HeaderField) {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSize(4096)
	for _, header := range headers {
		_ = encoder.WriteField(header)
	}
	const most = 16000
	first := block.Next(most)
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: end, EndHeaders: block.Len() == 0})
	for block.Len() > 0 {
		next := block.Next(most)
		_ = f.WriteContinuation(stream, block.Len() == 0, next)
	}
}
