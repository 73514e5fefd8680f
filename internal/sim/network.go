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

// lateWork delays Modal's work on some calls, even if the callers stop waiting.
type lateWork struct {
	method string
	by     time.Duration
	times  int
}

// delayCall runs before Modal works on a call. Operations overlap only if calls take time. Modal may also do the
// work of a call after its caller stopped waiting.
func (run *Run) delayCall(method string) {
	if method == "ServiceUserDelete" {
		run.oracle.learnOwners() // afterwards nobody knows the name of the service user
	}
	run.mu.Lock()
	wait := time.Duration(0)
	if run.lateWork.times > 0 && run.lateWork.method == method {
		run.lateWork.times--
		wait = run.lateWork.by
	}
	if run.conditions.Overlap {
		wait += latency
	}
	run.mu.Unlock()
	time.Sleep(wait)
}

func (run *Run) setOverlap(overlap bool) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.conditions.Overlap = overlap
}

func (run *Run) setLateWork(late lateWork) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.lateWork = late
}

// serve runs an emulated Modal over an in-memory connection. A bubble's clock stands still while a goroutine waits
// for a real network.
func (run *Run) serve(address string, options ...modaltest.Option) *modaltest.Server {
	line := bufconn.Listen(64 << 10)
	run.listeners[address] = line
	server := modaltest.New(append(options, modaltest.WithClock(time.Now), modaltest.WithFlowLifetime(flowLifetime))...)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(&listener{line, address})
	}()
	synctest.Wait() // until the server knows its address
	run.cleanups = append(run.cleanups, func() {
		server.Close()
		<-served
	})
	return server
}

// listener is a net.Listener with a fixed address.
type listener struct {
	net.Listener

	address string
}

func (a *listener) Addr() net.Addr { return address(a.address) }

type address string

func (address) Network() string  { return "tcp" }
func (n address) String() string { return string(n) }

// network is one process's network. It is cut when the process dies.
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

// used reports whether the process has connected to Modal.
func (w *network) used() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.conns) > 0
}

func (w *network) disconnect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for _, conn := range w.conns {
		_ = conn.Close()
	}
}
