// SPDX-License-Identifier: MPL-2.0

package state

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// connection counts how many of its kind are open.
type connection struct {
	Modal

	open *int
}

func (c *connection) Close() error {
	*c.open--
	return nil
}

func TestAConnectionOfACallThatOutlivesTheEngineIsClosed(t *testing.T) {
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

	require.Equal(t, 1, open, "a call in flight keeps it")
	release()
	require.Zero(t, open)
	_, release, err = c.Acquire(options, true) // its next call
	require.NoError(t, err)
	release()
	require.Zero(t, open)
}
