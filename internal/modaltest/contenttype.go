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

// noContentType is a header that marks an answer without a content type. grpc-go always adds a content type,
// so the frame writer removes it from an answer with the mark.
const noContentType = "x-modaltest-no-content-type"

// contentTypeRemover is transport credentials whose connections remove the content type from marked answers.
type contentTypeRemover struct {
	credentials.TransportCredentials
}

func (u contentTypeRemover) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := u.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	return newFrameWriter(conn), info, nil
}

func (u contentTypeRemover) Clone() credentials.TransportCredentials {
	return contentTypeRemover{u.TransportCredentials.Clone()}
}

// frameWriter forwards the server's HTTP/2 frames. It encodes all headers again, because header compression
// is stateful and the frame writer cannot remove a single header. Only the one goroutine that writes for
// grpc-go uses it.
type frameWriter struct {
	net.Conn
	pending bytes.Buffer // an incomplete frame
	block   bytes.Buffer // headers that continue in the next frame
	ends    bool         // whether these headers end the stream
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
	w.decoder.SetAllowedMaxDynamicTableSize(math.MaxUint32) // the client chooses the size, and grpc-go follows
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

// pass appends a frame to out. grpc-go never pads headers and never sets a priority.
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
		return fmt.Errorf("write the server's headers again: %w", err)
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
