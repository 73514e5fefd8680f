// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// clientOptions is what a connection depends on: a change of any of it makes a new one.
type clientOptions struct {
	serverURL, caCert string
	timeout           time.Duration
}

// clients holds the connections to Modal that calls share: the one of the configuration, which stays
// open, and for as long as somebody uses them those to servers that accepted a token before.
type clients struct {
	dial func(modalapi.Options) (Modal, error)
	warn func(text string)
	// closing hears of a connection that could not be closed.
	closing func(err error)
	mu      sync.Mutex
	// closed: no connection stays open any more after its last call.
	closed  bool
	current clientOptions
	open    map[clientOptions]*sharedClient
}

// sharedClient is closed by whoever lets go of it last, so that a change of config never breaks a
// call in flight.
type sharedClient struct {
	Modal

	options clientOptions
	users   int
}

// acquire returns the connection for these options. The caller releases it exactly once. One for the
// configuration (current) replaces its forerunner.
func (c *clients) acquire(options clientOptions, current bool) (client Modal, release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shared := c.open[options]
	if shared == nil {
		fresh, err := c.dial(modalapi.Options{
			ServerURL: options.serverURL, CACert: options.caCert, Timeout: options.timeout, Warn: c.warn,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("connect to %s: %w", options.serverURL, err)
		}
		shared = &sharedClient{Modal: fresh, options: options}
		c.open[options] = shared
	}
	shared.users++
	if before := c.current; current && !c.closed && before != options {
		c.current = options
		c.closeIfIdle(c.open[before])
	}
	return shared.Modal, func() { c.release(shared) }, nil
}

func (c *clients) release(shared *sharedClient) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shared.users--
	c.closeIfIdle(shared)
}

// close lets the connections go once the calls in flight are done.
func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.current
	c.closed, c.current = true, clientOptions{}
	c.closeIfIdle(c.open[before])
}

func (c *clients) closeIfIdle(shared *sharedClient) {
	if shared == nil || shared.users > 0 || shared.options == c.current {
		return
	}
	delete(c.open, shared.options)
	if err := shared.Close(); err != nil {
		c.closing(err)
	}
}

// connect is a connection to the configured Modal.
func (e *Engine) connect(cfg *Config) (client Modal, release func(), err error) {
	return e.clients.acquire(optionsOf(cfg), true)
}

// connectTo is a connection to the Modal that a token belongs to. A token's secret is sent to no other.
func (e *Engine) connectTo(cfg *Config, t Token) (client Modal, release func(), err error) {
	if cfg.serves(t) {
		return e.connect(cfg)
	}
	return e.clients.acquire(clientOptions{serverURL: t.ServerURL, timeout: cfg.RequestTimeout}, false)
}

// whoIs asks the Modal that a token belongs to whose it is.
func (e *Engine) whoIs(ctx context.Context, cfg *Config, t Token) (modalapi.Identity, error) {
	client, release, err := e.connectTo(cfg, t)
	if err != nil {
		return modalapi.Identity{}, err
	}
	defer release()
	who, err := client.WhoAmI(ctx, t.pair())
	if err != nil && !cfg.serves(t) && modalapi.KindOf(err) == modalapi.KindUnavailable {
		return who, fmt.Errorf("%w; token %s belongs to %s, which is not config's server_url: config's ca_cert is not used for it", err, t.ID, t.ServerURL)
	}
	return who, err
}
