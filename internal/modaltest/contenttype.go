// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/credentials"
)

// noContentType marks, on its way out, an answer that is to lose its content type. grpc-go can send
// none without one, so the mark is acted upon where the frames leave.
const noContentType = "x-modaltest-no-content-type"

// unlabelled are transport credentials whose connections take the content type from marked answers.
type unlabelled struct {
	credentials.TransportCredentials
}

func (u unlabelled) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := u.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	return newFrameWriter(conn), info, nil
}

func (u unlabelled) Clone() credentials.TransportCredentials {
	return unlabelled{u.TransportCredentials.Clone()}
}

// frameWriter passes the server's HTTP/2 frames on. As header compression has a memory, all headers are
// written anew, without one of their own. Only the one goroutine that writes for grpc-go uses it.
type frameWriter struct {
	net.Conn
	pending bytes.Buffer // what is no whole frame yet
	block   bytes.Buffer // headers that go on in another frame
	ends    bool         // whether the stream ends with them
	decoder *hpack.Decoder
	encoded bytes.Buffer
	encoder *hpack.Encoder
	out     bytes.Buffer
	framer  *http2.Framer
}

const (
	frameHeaderLen = 9
	maxFrameLen    = 16384
)

func newFrameWriter(conn net.Conn) *frameWriter {
	w := &frameWriter{Conn: conn, decoder: hpack.NewDecoder(4096, nil)}
	w.decoder.SetAllowedMaxDynamicTableSize(math.MaxUint32) // the client's choice, which grpc-go follows
	w.encoder = hpack.NewEncoder(&w.encoded)
	w.encoder.SetMaxDynamicTableSize(0)
	w.framer = http2.NewFramer(&w.out, nil)
	return w
}

func (w *frameWriter) Write(p []byte) (int, error) {
	w.pending.Write(p)
	for w.pending.Len() >= frameHeaderLen {
		head := w.pending.Bytes()[:frameHeaderLen]
		size := frameHeaderLen + int(head[0])<<16 + int(head[1])<<8 + int(head[2])
		if w.pending.Len() < size {
			break
		}
		if err := w.pass(w.pending.Next(size)); err != nil {
			return 0, err
		}
	}
	if _, err := w.out.WriteTo(w.Conn); err != nil {
		return 0, err
	}
	return len(p), nil
}

// pass puts a frame into out; grpc-go pads no headers and gives them no priority.
func (w *frameWriter) pass(frame []byte) error {
	kind, flags := http2.FrameType(frame[3]), http2.Flags(frame[4])
	if kind != http2.FrameHeaders && kind != http2.FrameContinuation {
		w.out.Write(frame)
		return nil
	}
	stream := binary.BigEndian.Uint32(frame[5:frameHeaderLen])
	if kind == http2.FrameHeaders {
		w.block.Reset()
		w.ends = flags.Has(http2.FlagHeadersEndStream)
	}
	w.block.Write(frame[frameHeaderLen:])
	if !flags.Has(http2.FlagHeadersEndHeaders) {
		return nil
	}
	fields, err := w.decoder.DecodeFull(w.block.Bytes())
	if err != nil {
		return fmt.Errorf("read the server's headers: %w", err)
	}
	if err = w.encode(fields); err != nil {
		return fmt.Errorf("write the server's headers anew: %w", err)
	}
	rest := w.encoded.Next(maxFrameLen)
	err = w.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: rest, EndStream: w.ends, EndHeaders: w.encoded.Len() == 0,
	})
	for err == nil && w.encoded.Len() > 0 {
		rest = w.encoded.Next(maxFrameLen)
		err = w.framer.WriteContinuation(stream, w.encoded.Len() == 0, rest)
	}
	return err
}

func (w *frameWriter) encode(fields []hpack.HeaderField) error {
	marked := false
	for _, field := range fields {
		marked = marked || field.Name == noContentType
	}
	w.encoded.Reset()
	for _, field := range fields {
		if field.Name == noContentType || marked && field.Name == "content-type" {
			continue
		}
		if err := w.encoder.WriteField(field); err != nil {
			return err
		}
	}
	return nil
}
