// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestLab_ClosingLeavesNoProcessAndNoFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plugins, err := w.PluginPIDs()
	require.NoError(t, err)
	require.NotEmpty(t, plugins)

	require.NoError(t, w.lab.Close())

	for _, pid := range plugins {
		require.NoError(t, lab.Until(t.Context(), "the plugin to end", func() error {
			if syscall.Kill(pid, 0) == nil {
				return os.ErrExist
			}
			return nil
		}))
	}
	for _, address := range []string{w.Addr, w.emulator.URL, w.emulator.Page} {
		requireClosed(t, address)
	}
	require.NoDirExists(t, w.lab.Dir)
}

// requireClosed asserts that no server listens at the address of a URL.
func requireClosed(t *testing.T, address string) {
	t.Helper()
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", parsed.Host)
	if err == nil {
		require.NoError(t, conn.Close())
	}
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}
