// SPDX-License-Identifier: MPL-2.0

//go:build unix

// Package lab starts real programs for the end-to-end tests and the demo: a Vault server with this
// engine in its plugin directory, the vault command, Vault Agent, the emulator of Modal's control
// plane and a client built on Modal's Go SDK. It is the one place that starts things, and the one
// that stops them again.
package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// patience bounds every wait for a program. It is far more than a busy machine needs: only what hangs
// comes to its end.
const patience = 5 * time.Minute

// Lab is a directory and the programs started in it. Nothing in it reads or writes the caller's
// home directory or Vault and Modal settings.
type Lab struct {
	Dir   string
	tools *Tools

	mu        sync.Mutex
	processes []*process
}

// New makes a lab that runs the given tools. Close it.
func New(tools *Tools) (*Lab, error) {
	dir, err := tempDir("modal-lab-")
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"home", "tmp"} {
		if err = os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("making the lab's directory: %w", err)
		}
	}
	return &Lab{Dir: dir, tools: tools}, nil
}

// Close stops what was started, last first, waits for its end and removes the directory.
func (l *Lab) Close() error {
	l.mu.Lock()
	processes := l.processes
	l.processes = nil
	l.mu.Unlock()
	for i := len(processes) - 1; i >= 0; i-- {
		processes[i].stop()
	}
	return os.RemoveAll(l.Dir)
}

// path joins the lab's directory and a name.
func (l *Lab) path(name string) string { return filepath.Join(l.Dir, name) }

// env is the caller's environment without what would change how Vault or a Modal client behaves,
// with a home and a temporary directory of the lab's own.
func (l *Lab) env(extra ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		prefix, _, _ := strings.Cut(name, "_")
		if slices.Contains([]string{"VAULT", "BAO", "MODAL"}, prefix) || name == "HOME" || name == "TMPDIR" {
			continue
		}
		env = append(env, kv)
	}
	env = append(env, "HOME="+l.path("home"), "TMPDIR="+l.path("tmp"))
	return append(env, extra...)
}

// Until calls check again and again until it succeeds, at first ten times a second, and then once: many wait for
// Vault's clock, which ticks once a minute, and each look may cost a program's start. After five minutes it
// returns check's last error, together with what was waited for; an error wrapped by backoff.Permanent ends it at once.
func Until(ctx context.Context, what string, check func() error) error {
	return UntilWithin(ctx, patience, what, check)
}

// UntilWithin is Until for what takes another time.
func UntilWithin(ctx context.Context, patience time.Duration, what string, check func() error) error {
	var last error
	pace := &backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, Multiplier: 1.1, MaxInterval: time.Second}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = check()
		return struct{}{}, last
	}, backoff.WithBackOff(pace), backoff.WithMaxElapsedTime(patience))
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("waiting for %s: %w (last: %w)", what, context.Cause(ctx), last)
	}
	return fmt.Errorf("waited for %s: %w", what, err)
}

// tempDir makes a directory whose path has no symbolic link in it, as Vault wants its plugin
// directory (macOS has one in its temporary directory).
func tempDir(prefix string) (string, error) {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return "", fmt.Errorf("making a temporary directory: %w", err)
	}
	return filepath.EvalSymlinks(dir)
}

// freeAddr returns a loopback address that nobody listens on at the moment, and each once, as servers start
// beside each other. Vault can't be asked which port it took, so it has to be told one.
func (t *Tools) freeAddr(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	for {
		listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("looking for a free port: %w", err)
		}
		addr := listener.Addr().String()
		if err = listener.Close(); err != nil {
			return "", fmt.Errorf("looking for a free port: %w", err)
		}
		if _, given := t.addresses.LoadOrStore(addr, true); !given {
			return addr, nil
		}
	}
}
