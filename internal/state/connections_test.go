// SPDX-License-Identifier: MPL-2.0

package state

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
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
