// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestCluster_AnUpgradeMovesEachNodeToTheNewVersion(t *testing.T) {
	t.Parallel()
	w, cluster := newClusterWorld(t)
	w.newManagedRole(t)
	before := w.current(t)
	for _, node := range cluster.Nodes {
		w.requireReadsToken(t, node, before)
	}

	// The steps of docs/how-to/upgrade.md. The nodes share a plugin directory that contains both versions.
	w.vault(t, newer.RegisterArgs()...)
	w.vault(t, "secrets", "tune", "-plugin-version="+newer.Version, "modal/")
	w.vault(t, "plugin", "reload", "-plugin="+lab.PluginName, "-scope=global")

	w.requireServesNewVersion(t, cluster.Nodes)
	first := w.Vault
	first.Kill()
	rest := slices.DeleteFunc(slices.Clone(cluster.Nodes), func(node *lab.Vault) bool { return node == first })
	w.awaitLeader(t, cluster)
	w.requireServesNewVersion(t, rest)
	second := w.Vault
	w.vault(t, "operator", "step-down")
	require.NoError(t, lab.Until(w.ctx, "the third node to take over", func() error {
		w.awaitLeader(t, cluster)
		if w.Vault == second {
			return fmt.Errorf("%s is still active", w.Name)
		}
		return nil
	}))
	w.requireServesNewVersion(t, rest)
}

// requireServesNewVersion asserts that the active node runs only the newer version and rotates, and that
// every node returns the new token.
func (w *world) requireServesNewVersion(t *testing.T, nodes []*lab.Vault) {
	t.Helper()
	w.requireOldVersionGone(t, nodes)
	require.Equal(t, newer.Version, w.runningVersion(t), w.Name)
	w.vault(t, "write", "-f", "modal/rotate/gpu")
	current := w.current(t)
	for _, node := range nodes {
		w.requireComesToRead(t, node, current)
	}
}

// requireOldVersionGone waits until the active node runs one plugin and no node runs another version than the
// newer one.
func (w *world) requireOldVersionGone(t *testing.T, nodes []*lab.Vault) {
	t.Helper()
	require.NoError(t, lab.Until(w.ctx, "every node to run the newer version alone", func() error {
		for _, node := range nodes {
			plugins, err := node.Plugins()
			if err != nil {
				return err
			}
			for _, binary := range plugins {
				if filepath.Base(binary) != newer.Command {
					return fmt.Errorf("%s runs %s", node.Name, binary)
				}
			}
			if node == w.Vault && len(plugins) != 1 {
				return fmt.Errorf("%s runs %d plugins", node.Name, len(plugins))
			}
		}
		return nil
	}))
}

// requireComesToRead waits until a node returns the token, because OpenBao's standbys follow the active node.
func (w *world) requireComesToRead(t *testing.T, node *lab.Vault, token issued) {
	t.Helper()
	require.NoError(t, lab.Until(w.ctx, node.Name+" to return "+token.ID, func() error {
		if got := w.requireReads(t, node); got != token {
			return fmt.Errorf("the node returns %s", got.ID)
		}
		return nil
	}))
}
