// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// lateness is how long Modal goes on with some calls after it got them, whatever their callers do.
type lateness struct {
	method string
	by     time.Duration
	times  int
}

// think is what Modal does before it works on a call: operations meet only where they take time, and the
// work on a call that nobody waits for any more may still be done.
func (l *Life) think(method string) {
	l.mu.Lock()
	wait := time.Duration(0)
	if l.late.times > 0 && l.late.method == method {
		l.late.times--
		wait = l.late.by
	}
	l.mu.Unlock()
	if l.climate.Overlap {
		wait += latency
	}
	time.Sleep(wait)
}

func (l *Life) setLate(late lateness) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = late
}

// serve runs an emulated Modal that is reached in memory: a bubble's clock stands still while anybody
// waits for a real network.
func (l *Life) serve(address string) *modaltest.Server {
	line := bufconn.Listen(64 << 10)
	l.lines[address] = line
	server := modaltest.New(modaltest.WithClock(time.Now), modaltest.WithFlowLifetime(flowLifetime))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(&at{line, address})
	}()
	synctest.Wait() // until it knows its address
	l.rt.Cleanup(func() {
		server.Close()
		<-served
	})
	return server
}

// at is a listener that says where it is.
type at struct {
	net.Listener

	address string
}

func (a *at) Addr() net.Addr { return named(a.address) }

type named string

func (named) Network() string  { return "tcp" }
func (n named) String() string { return string(n) }

// wire is a process's network. It ends with the process.
type wire struct {
	lines map[string]*bufconn.Listener

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (w *wire) dial(ctx context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	cut := w.cut
	w.mu.Unlock()
	line := w.lines[address]
	if cut || line == nil {
		return nil, errors.New("no route to " + address)
	}
	conn, err := line.DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conn)
	return conn, nil
}

func (w *wire) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for _, conn := range w.conns {
		_ = conn.Close()
	}
}
