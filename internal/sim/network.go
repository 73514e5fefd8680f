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
type lateWork struct {
	method string
	by     time.Duration
	times  int
}

// think is what Modal does before it works on a call: operations meet only where they take time, and the
// work on a call that nobody waits for any more may still be done.
func (run *Run) delayCall(method string) {
	run.mu.Lock()
	wait := time.Duration(0)
	if run.lateWork.times > 0 && run.lateWork.method == method {
		run.lateWork.times--
		wait = run.lateWork.by
	}
	run.mu.Unlock()
	if run.conditions.Overlap {
		wait += latency
	}
	time.Sleep(wait)
}

func (run *Run) setLateWork(late lateWork) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.lateWork = late
}

// serve runs an emulated Modal that is reached in memory: a bubble's clock stands still while anybody
// waits for a real network.
func (run *Run) serve(address string) *modaltest.Server {
	line := bufconn.Listen(64 << 10)
	run.listeners[address] = line
	server := modaltest.New(modaltest.WithClock(time.Now), modaltest.WithFlowLifetime(flowLifetime))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(&listener{line, address})
	}()
	synctest.Wait() // until it knows its address
	run.rt.Cleanup(func() {
		server.Close()
		<-served
	})
	return server
}

// at is a listener that says where it is.
type listener struct {
	net.Listener

	address string
}

func (a *listener) Addr() net.Addr { return address(a.address) }

type address string

func (address) Network() string  { return "tcp" }
func (n address) String() string { return string(n) }

// wire is a process's network. It ends with the process.
type network struct {
	listeners map[string]*bufconn.Listener

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (w *network) dial(ctx context.Context, address string) (net.Conn, error) {
	w.mu.Lock()
	cut := w.cut
	w.mu.Unlock()
	line := w.listeners[address]
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

func (w *network) disconnect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for _, conn := range w.conns {
		_ = conn.Close()
	}
}
