// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/test/bufconn"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// bubble is a harness with virtual time. The time moves forward when all goroutines wait, the background ones
// included.
type bubble struct {
	*harness

	wire *bufconn.Listener
	disk *crashingStorage
}

// inBubble runs a test with an engine that has no admin token and no roles.
func inBubble(t *testing.T, test func(b *bubble), opts ...modaltest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{wire: bufconn.Listen(64 << 10), harness: &harness{t: t, storage: &logical.InmemStorage{}, recorded: &record{}}}
		b.modal = modaltest.New(opts...)
		served := make(chan error, 1)
		go func() { served <- b.modal.Serve(modaltest.At(b.wire, "127.0.0.1:9900")) }()
		b.workspace = b.modal.AddWorkspace("acme")
		b.member = b.workspace.AddMember("alice")
		defer func() { // also if the test fails, because a bubble waits for all its goroutines
			b.engine.Close()
			b.modal.Close()
			require.NoError(t, <-served)
		}()
		synctest.Wait() // the server has its address
		b.start()
		b.configure(model.ConfigWrite{ServerURL: to(b.modal.URL())})

		test(b)

		b.noSecrets()
	})
}

// start starts a new process over the same storage.
func (b *bubble) start() {
	b.disk = &crashingStorage{Storage: b.storage}
	b.engine = New(state.Deps{
		Storage: b.disk, MountID: "2f9f1a7c", Emit: b.recorded.event, Now: func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) }, Wait: waitFor,
		Connect: func(o modalapi.Options) (state.Modal, error) {
			o.Dial = func(ctx context.Context, _ string) (net.Conn, error) { return b.wire.DialContext(ctx) }
			return modalapi.New(o)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: b.recorded}),
	})
}

// restart ends the process and all its goroutines, and starts a new process.
func (b *bubble) restart() {
	b.engine.Close()
	b.start()
}

func waitFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pass waits for the given time.
func (b *bubble) pass(d time.Duration) { <-time.After(d) }

// ticks calls the worker once a minute for the given time.
func (b *bubble) ticks(d time.Duration) {
	b.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		require.NoError(b.t, b.engine.Worker.Tick(b.t.Context()))
		b.pass(time.Minute)
	}
}

func (b *bubble) noSecrets() {
	b.t.Helper()
	for _, secret := range b.modal.Secrets() {
		require.False(b.t, strings.Contains(b.recorded.lines(), secret), "a secret is in the log")
	}
}

// crashingStorage crashes at the nth write from now on. Either that write took effect or it did not.
type crashingStorage struct {
	logical.Storage

	mu     sync.Mutex
	left   int
	after  bool
	dead   bool
	writes []string
	// fails is the prefix of the writes that fail without effect. Empty means that no write fails.
	fails string
}

func (m *crashingStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return m.write("put "+entry.Key, func() error { return m.Storage.Put(ctx, entry) })
}

func (m *crashingStorage) Delete(ctx context.Context, key string) error {
	return m.write("delete "+key, func() error { return m.Storage.Delete(ctx, key) })
}

// fail lets the writes with the given prefix fail from now on.
func (m *crashingStorage) fail(write string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = write
}

// crashAt counts the writes from now on.
func (m *crashingStorage) crashAt(nth int, after bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes, m.left, m.after = nil, nth, after
}

func (m *crashingStorage) crashed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

func (m *crashingStorage) write(what string, do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return logical.ErrReadOnly
	}
	if m.fails != "" && strings.HasPrefix(what, m.fails) {
		return errors.New("the disk is full")
	}
	m.writes = append(m.writes, what)
	if m.left > 0 && len(m.writes) == m.left {
		m.dead = true
		if m.after {
			_ = do()
		}
		return logical.ErrReadOnly
	}
	return do()
}
