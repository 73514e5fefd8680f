// SPDX-License-Identifier: MPL-2.0

package state

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// connection counts the open connections.
type connection struct {
	Modal

	open *int
}

func (c *connection) Close() error {
	*c.open--
	return nil
}

func TestConnections_CloseWithTheLastCallInFlight(t *testing.T) {
	t.Parallel()
	open := 0
	c := &Connections{open: map[ConnectionOptions]*SharedConnection{}, dial: func(modalapi.Options) (Modal, error) {
		open++
		return &connection{open: &open}, nil
	}}
	options := ConnectionOptions{serverURL: "https://api.modal.com:443"}
	_, release, err := c.Acquire(options, true)
	require.NoError(t, err)

	c.Close()

	require.Equal(t, 1, open, "a call in flight keeps the connection open")
	release()
	require.Zero(t, open)
	_, release, err = c.Acquire(options, true) // the caller's next call after Close
	require.NoError(t, err)
	release()
	require.Zero(t, open)
}

// dialed returns connections that record how many connections to each server are open, and with which CA.
func dialed() (c *Connections, open map[string]*int) {
	open = map[string]*int{}
	return &Connections{open: map[ConnectionOptions]*SharedConnection{}, dial: func(o modalapi.Options) (Modal, error) {
		key := o.ServerURL + " " + o.CACert + " " + o.Timeout.String()
		if open[key] == nil {
			open[key] = new(int)
		}
		*open[key]++
		return &connection{open: open[key]}, nil
	}}, open
}

func TestConnections_AreSharedUntilConfigChanges(t *testing.T) {
	t.Parallel()
	before := model.Config{ServerURL: "https://a:443", CACert: "A", RequestTimeout: time.Second}
	for what, change := range map[string]func(*model.Config){
		"https://b:443 A 1s": func(c *model.Config) { c.ServerURL = "https://b:443" },
		"https://a:443 B 1s": func(c *model.Config) { c.CACert = "B" },
		"https://a:443 A 2s": func(c *model.Config) { c.RequestTimeout = 2 * time.Second },
	} {
		c, open := dialed()
		m := &Mount{connections: c}
		after := before
		change(&after)
		first, release, err := m.Connect(&before)
		require.NoError(t, err)
		again, done, err := m.Connect(&before)
		require.NoError(t, err)
		require.Same(t, first, again, "all calls share one connection")
		done()

		_, idle, err := m.Connect(&after)
		require.NoError(t, err)
		idle()

		require.Equal(t, 1, *open["https://a:443 A 1s"], "a call in flight keeps its connection")
		release()
		require.Zero(t, *open["https://a:443 A 1s"])
		require.Equal(t, 1, *open[what], "config's connection stays open")
		_, release, err = m.Connect(&before)
		require.NoError(t, err)
		require.Zero(t, *open[what], "an idle connection closes once config points elsewhere")
		release()
	}
}

func TestConnections_AnotherServerGetsNeitherConfigsCANorItsPlace(t *testing.T) {
	t.Parallel()
	c, open := dialed()
	m := &Mount{connections: c}
	cfg := &model.Config{ServerURL: "https://a:443", CACert: "A", RequestTimeout: time.Second}
	_, release, err := m.Connect(cfg)
	require.NoError(t, err)
	release()

	_, release, err = m.ConnectTo(cfg, model.Token{ServerURL: "https://b:443"})

	require.NoError(t, err)
	require.Equal(t, 1, *open["https://b:443  1s"], "with the system's roots")
	release()
	require.Zero(t, *open["https://b:443  1s"], "closed after the call")
	require.Equal(t, 1, *open["https://a:443 A 1s"])
	for _, server := range []string{"", "https://a:443", "HTTPS://A:443"} {
		_, release, err = m.ConnectTo(cfg, model.Token{ServerURL: server})
		require.NoError(t, err)
		release()
	}
	require.Equal(t, 1, *open["https://a:443 A 1s"], "a token without a server belongs to config's")
}

func TestConnections_AreDialedAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	c, open := dialed()
	dial := c.dial
	c.dial = func(modalapi.Options) (Modal, error) { return nil, errors.New("the proxy URL cannot be read") }
	m := &Mount{connections: c}
	cfg := &model.Config{ServerURL: "https://a:443", RequestTimeout: time.Second}
	_, _, err := m.Connect(cfg)
	require.ErrorContains(t, err, "connect to https://a:443: the proxy URL cannot be read")

	c.dial = dial
	_, release, err := m.Connect(cfg)

	require.NoError(t, err)
	release()
	require.Equal(t, 1, *open["https://a:443  1s"])
}
