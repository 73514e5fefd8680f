// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/version"
)

// clientOptions is what a connection depends on: a change of any of it makes a new one.
type clientOptions struct {
	serverURL, caCert string
	timeout           time.Duration
}

// clients holds the one connection to Modal that all calls share.
type clients struct {
	logger hclog.Logger
	// dial and random are nil but in tests that own the network and luck.
	dial    func(ctx context.Context, address string) (net.Conn, error)
	random  func() float64
	mu      sync.Mutex
	current *sharedClient
}

// sharedClient is closed by whoever lets go of it last, so that a change of config never breaks a
// call in flight.
type sharedClient struct {
	*modalapi.Client
	options clientOptions
	users   int
	retired bool
}

// acquire returns the connection for these options. The caller releases it exactly once.
func (c *clients) acquire(options clientOptions) (client *modalapi.Client, release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil || c.current.options != options {
		fresh, err := modalapi.New(modalapi.Options{
			ServerURL: options.serverURL, CACert: options.caCert, Timeout: options.timeout, Version: version.Version,
			Warn: func(text string) { c.logger.Warn("modal warns", "warning", text) },
			Dial: c.dial, Random: c.random,
		})
		if err != nil {
			return nil, nil, err
		}
		c.retire()
		c.current = &sharedClient{Client: fresh, options: options}
	}
	shared := c.current
	shared.users++
	return shared.Client, func() { c.release(shared) }, nil
}

func (c *clients) release(shared *sharedClient) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shared.users--
	c.closeIfIdle(shared)
}

// close lets the connection go once the calls in flight are done.
func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retire()
}

func (c *clients) retire() {
	if c.current == nil {
		return
	}
	c.current.retired = true
	c.closeIfIdle(c.current)
	c.current = nil
}

func (c *clients) closeIfIdle(shared *sharedClient) {
	if !shared.retired || shared.users > 0 {
		return
	}
	if err := shared.Close(); err != nil {
		c.logger.Debug("closing a connection to modal", "error", err)
	}
}
