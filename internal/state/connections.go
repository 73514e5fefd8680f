// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"fmt"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// ConnectionOptions holds the settings of a connection. A change of any of them needs a new connection.
type ConnectionOptions struct {
	serverURL, caCert string
	timeout           time.Duration
}

// Connections holds the connections to Modal that calls share. The connection to config's server stays open. A
// connection to another server, which accepted a token before, stays open only while a call uses it.
type Connections struct {
	dial func(modalapi.Options) (Modal, error)
	warn func(text string)
	// closing is called if a connection cannot be closed.
	closing func(err error)
	mu      sync.Mutex
	// closed says that every connection is closed after its last call.
	closed bool
	// current are the options of config's connection.
	current ConnectionOptions
	// open holds the open connections.
	open map[ConnectionOptions]*SharedConnection
}

// SharedConnection is a connection that several calls use. The last of them closes it, so that a change of config
// never breaks a call in flight.
type SharedConnection struct {
	Modal

	options ConnectionOptions
	// users counts the calls that use the connection.
	users int
}

// Acquire returns the connection for these options. The caller must call release exactly once. If current is set, the
// connection is config's, and replaces the previous one.
func (c *Connections) Acquire(options ConnectionOptions, current bool) (client Modal, release func(), err error) {
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
		shared = &SharedConnection{Modal: fresh, options: options}
		c.open[options] = shared
	}
	shared.users++
	if before := c.current; current && !c.closed && before != options {
		c.current = options
		c.closeIfIdle(c.open[before])
	}
	return shared.Modal, func() { c.release(shared) }, nil
}

func (c *Connections) release(shared *SharedConnection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shared.users--
	c.closeIfIdle(shared)
}

// Close closes all connections, once the calls in flight are done.
func (c *Connections) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.current
	c.closed, c.current = true, ConnectionOptions{}
	c.closeIfIdle(c.open[before])
}

func (c *Connections) closeIfIdle(shared *SharedConnection) {
	if shared == nil || shared.users > 0 || shared.options == c.current {
		return
	}
	delete(c.open, shared.options)
	if err := shared.Close(); err != nil {
		c.closing(err)
	}
}

// Connect returns a connection to config's Modal server.
func (m *Mount) Connect(cfg *model.Config) (client Modal, release func(), err error) {
	return m.connections.Acquire(optionsOf(cfg), true)
}

// ConnectTo returns a connection to the server that a token belongs to. The token's secret must not be sent to any
// other server.
func (m *Mount) ConnectTo(cfg *model.Config, t model.Token) (client Modal, release func(), err error) {
	if cfg.Serves(t) {
		return m.Connect(cfg)
	}
	return m.connections.Acquire(ConnectionOptions{serverURL: t.ServerURL, timeout: cfg.RequestTimeout}, false)
}

// WhoIs asks the server that a token belongs to for the token's owner.
func (m *Mount) WhoIs(ctx context.Context, cfg *model.Config, t model.Token) (modalapi.Identity, error) {
	client, release, err := m.ConnectTo(cfg, t)
	if err != nil {
		return modalapi.Identity{}, err
	}
	defer release()
	who, err := client.WhoAmI(ctx, t.APIToken())
	if err != nil && !cfg.Serves(t) && modalapi.KindOf(err) == modalapi.KindUnavailable {
		return who, fmt.Errorf("%w; token %s belongs to %s, which is not config's server_url: config's ca_cert is not used for it", err, t.ID, t.ServerURL)
	}
	return who, err
}

func optionsOf(c *model.Config) ConnectionOptions {
	return ConnectionOptions{serverURL: c.ServerURL, caCert: c.CACert, timeout: c.RequestTimeout}
}
