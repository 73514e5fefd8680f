// SPDX-License-Identifier: MPL-2.0

//go:build unix

// Package lab starts real programs for the end-to-end tests and the demo: a Vault server with this engine in
// its plugin directory, the vault command, Vault Agent, the emulator of Modal's control plane and a client
// built on Modal's Go SDK. Only this package starts programs, and this package stops them again.
package lab

import (
	"context"
	"errors"
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

// patience limits every wait for a program. It is much longer than a busy machine needs, so only a program
// that hangs reaches it.
const patience = 5 * time.Minute

// Lab is a directory and the programs started in it. The programs neither read nor write the caller's home
// directory or the caller's Vault and Modal settings.
type Lab struct {
	Dir   string
	tools *Tools

	mu        sync.Mutex
	processes []*process
}

// New makes a lab that runs the given tools. The caller closes it.
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

// With runs a function in a new lab, and closes the lab after it.
func With(tools *Tools, do func(*Lab) error) (err error) {
	l, err := New(tools)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return do(l)
}

// Close stops the lab's programs, the last one first, waits for their end and removes the directory.
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

// env returns the caller's environment without the variables that change how Vault or a Modal client behaves.
// Home and temporary directory are the lab's own.
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

// Until calls check again and again until it succeeds. At first it calls ten times a second, later once a
// second: many checks wait for Vault's clock, which ticks once a minute, and each check may start a program.
// After five minutes Until returns check's last error and the name of what it waited for. An error wrapped by
// backoff.Permanent ends the wait at once.
func Until(ctx context.Context, what string, check func() error) error {
	return UntilWithin(ctx, patience, what, check)
}

// UntilWithin works like Until with another time limit.
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

// tempDir makes a directory whose path contains no symbolic link, because Vault requires that of its plugin
// directory. On macOS the path of the temporary directory contains one.
func tempDir(prefix string) (string, error) {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return "", fmt.Errorf("making a temporary directory: %w", err)
	}
	return filepath.EvalSymlinks(dir)
}

// freeAddr returns a loopback address that nobody listens on now. It returns each address only once, because
// servers start at the same time. Vault cannot tell which port it took, so the caller chooses the port.
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
