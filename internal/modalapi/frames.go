// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"encoding/binary"
	"errors"
	"net"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/credentials"
)

// grpc-go keeps every frame of an answer until the answer is complete. Each frame takes some 60 bytes beside
// its content, so an answer in frames of one byte takes many times its size.
const (
	frameSize   = 64   // bytes that a frame takes beside its content, about
	usualFrame  = 256  // bytes of content that frames have on average, at least
	tinyFrames  = 4096 // frames of an answer that may be empty
	frameHeader = 9
)

var errTinyFrames = errors.New("the server cuts its answer into pieces too small to be an accident")

// watched are transport credentials whose connections end when an answer comes in tiny frames.
type watched struct {
	credentials.TransportCredentials
}

// ClientHandshake returns a connection that watches the server's frames.
func (w watched) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	return &frameWatch{Conn: conn, answers: map[uint32]int{}}, info, nil
}

// Clone returns the same for another connection.
func (w watched) Clone() credentials.TransportCredentials {
	return watched{w.TransportCredentials.Clone()}
}

// frameWatch reads the headers of the frames that pass. Only the one goroutine that reads for grpc-go uses it.
type frameWatch struct {
	net.Conn
	header  []byte         // the part of a frame's header that arrived
	skip    int            // bytes of the frame's content that did not arrive yet
	answers map[uint32]int // by stream: bytes that the frames lack to be of the usual size
}

func (w *frameWatch) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if tiny := w.watch(p[:n]); tiny != nil {
		return 0, tiny
	}
	return n, err
}

func (w *frameWatch) watch(p []byte) error {
	for len(p) > 0 {
		passed := min(w.skip, len(p))
		w.skip, p = w.skip-passed, p[passed:]
		taken := min(frameHeader-len(w.header), len(p))
		w.header, p = append(w.header, p[:taken]...), p[taken:]
		if len(w.header) == frameHeader {
			if err := w.frame(); err != nil {
				return err
			}
			w.header = w.header[:0]
		}
	}
	return nil
}

// frame counts the frame whose header arrived.
func (w *frameWatch) frame() error {
	size := int(w.header[0])<<16 | int(w.header[1])<<8 | int(w.header[2])
	kind, flags := http2.FrameType(w.header[3]), http2.Flags(w.header[4])
	stream := binary.BigEndian.Uint32(w.header[5:])
	w.skip = size
	switch {
	case kind == http2.FrameRSTStream, flags.Has(http2.FlagDataEndStream) && (kind == http2.FrameData || kind == http2.FrameHeaders):
		delete(w.answers, stream)
	case kind == http2.FrameData:
		w.answers[stream] = max(w.answers[stream]+usualFrame-size, 0)
		if w.answers[stream] > tinyFrames*usualFrame || len(w.answers) > tinyFrames {
			return errTinyFrames
		}
	}
	return nil
}
