// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestAfterTheStepsOfAnUpgradeEveryNodeOfAClusterRunsTheNewVersionAndServes(t *testing.T) {
	t.Parallel()
	w, cluster := newClusterWorld(t)
	w.newManagedRole(t)
	before := w.current(t)
	for _, node := range cluster.Nodes {
		requireSame(t, before, w.requireReads(t, node))
	}

	// As docs/operations.md tells; the nodes share a plugin directory, which has both versions.
	w.vault(t, newer.RegisterArgs()...)
	w.vault(t, "secrets", "tune", "-plugin-version="+newer.Version, "modal/")
	w.vault(t, "plugin", "reload", "-plugin="+lab.PluginName, "-scope=global")

	for served := map[string]bool{}; ; {
		w.requireOldVersionGone(t, cluster)
		require.Equal(t, newer.Version, w.runningVersion(t), w.Name)
		w.vault(t, "write", "-f", "modal/rotate/gpu")
		current := w.current(t)
		w.requireAccepted(t, current.Token)
		for _, node := range cluster.Nodes {
			w.requireComesToRead(t, node, current)
		}
		if served[w.Name] = true; len(served) == len(cluster.Nodes) {
			return
		}
		require.NoError(t, lab.Until(w.ctx, "a node to take over that has not served yet", func() error {
			w.vault(t, "operator", "step-down")
			w.awaitLeader(t, cluster)
			if served[w.Name] {
				return fmt.Errorf("%s is active", w.Name)
			}
			return nil
		}))
	}
}

// requireOldVersionGone asserts that within a while the active node runs the newer version, and no node another.
func (w *world) requireOldVersionGone(t *testing.T, cluster *lab.Cluster) {
	t.Helper()
	require.NoError(t, lab.Until(w.ctx, "every node to run the newer version alone", func() error {
		for _, node := range cluster.Nodes {
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

// requireComesToRead asserts that a node hands out the token within a while: OpenBao's standbys follow the
// active node.
func (w *world) requireComesToRead(t *testing.T, node *lab.Vault, token issued) {
	t.Helper()
	require.NoError(t, lab.Until(w.ctx, node.Name+" to hand out "+token.ID, func() error {
		if got := w.requireReads(t, node); got != token {
			return fmt.Errorf("it hands out %s", got.ID)
		}
		return nil
	}))
}
