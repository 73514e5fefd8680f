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

// grpc-go keeps every frame of an answer until the answer is complete. Each frame needs about 60 bytes more
// than its content, so an answer in frames of one byte needs many times its size in memory.
const (
	frameSize   = 64   // approximate bytes of memory for a frame, without its content
	usualFrame  = 256  // average bytes of content in a frame, at least
	tinyFrames  = 4096 // allowed empty frames in an answer
	frameHeader = 9
)

var errTinyFrames = errors.New("the server splits its answer into so many tiny frames that the connection was closed")

// watchedCredentials are transport credentials. They end a connection on which an answer comes in tiny
// frames.
type watchedCredentials struct {
	credentials.TransportCredentials
}

// ClientHandshake returns a connection that checks the server's frames.
func (w watchedCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		return nil, nil, err
	}
	return &frameWatch{Conn: conn, answers: map[uint32]int{}}, info, nil
}

// Clone returns a copy for another connection.
func (w watchedCredentials) Clone() credentials.TransportCredentials {
	return watchedCredentials{w.TransportCredentials.Clone()}
}

// frameWatch reads the headers of the frames on a connection. Only the one goroutine that reads for grpc-go
// uses it.
type frameWatch struct {
	net.Conn
	header  []byte         // the part of a frame's header that has arrived
	skip    int            // bytes of the frame's content that have not arrived yet
	answers map[uint32]int // by stream: the bytes by which its frames are smaller than usual
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

// frame counts the frame whose header has arrived.
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
