// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// Line is another address of the emulator that a test can cut. For the users of that address Modal is then
// down.
type Line struct {
	// URL is the address for Modal's clients (server_url).
	URL string

	listener net.Listener
	mu       sync.Mutex
	ends     []net.Conn // nil after Cut
}

// OpenLine opens a line to the emulator. The caller cuts it.
func (e *Emulator) OpenLine(ctx context.Context) (*Line, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening a line to the emulator: %w", err)
	}
	l := &Line{URL: "http://" + listener.Addr().String(), listener: listener, ends: []net.Conn{}}
	go l.serve(ctx, strings.TrimPrefix(e.URL, "http://"))
	return l, nil
}

// Cut closes every connection and rejects new ones.
func (l *Line) Cut() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := []error{l.listener.Close()}
	for _, end := range l.ends {
		errs = append(errs, end.Close())
	}
	l.ends = nil
	return errors.Join(errs...)
}

func (l *Line) serve(ctx context.Context, address string) {
	var dialer net.Dialer
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return // Cut closed the listener
		}
		far, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil || !l.add(near, far) {
			_ = near.Close() // as a server that is down does
			continue
		}
		go func() { _, _ = io.Copy(near, far) }() // until Cut
		go func() { _, _ = io.Copy(far, near) }()
	}
}

// add reports whether the line is still open. If so, it remembers the connections.
func (l *Line) add(ends ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ends == nil {
		return false
	}
	l.ends = append(l.ends, ends...)
	return true
}
