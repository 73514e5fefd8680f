// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestLatest_MountRunsTheNewestVersionFromTheNextReload(t *testing.T) {
	t.Parallel()
	w := newBareWorld(t)
	w.vault(t, plugin.RegisterArgs()...)
	enable := []string{"secrets", "enable", "-path=modal", "-plugin-version=latest", lab.PluginName}
	if !tools.OpenBao {
		refused := w.run(t, w.CLI, "", enable...)
		require.Equal(t, 2, refused.Code)
		require.Contains(t, refused.Stderr, `version "latest" is not a valid semantic version`)
		return
	}
	reload := []string{"plugin", "reload", "-plugin=" + lab.PluginName, "-scope=global"}
	w.vault(t, enable...)
	require.Equal(t, plugin.Version, w.runningVersion(t))

	w.vault(t, newer.RegisterArgs()...)
	require.Equal(t, plugin.Version, w.runningVersion(t), "a registration starts nothing")
	w.vault(t, reload...)
	require.Equal(t, newer.Version, w.runningVersion(t))

	w.vault(t, "plugin", "deregister", "-version="+newer.Version, "secret", lab.PluginName)
	w.vault(t, reload...)
	require.Equal(t, plugin.Version, w.runningVersion(t), "the next reload goes back")
}
