// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestCluster_ALeaderChangeDuringARotationLeavesAConsistentRole(t *testing.T) {
	t.Parallel()
	for name, goes := range map[string]func(t *testing.T, leader *lab.Vault){
		"by stepping down": func(t *testing.T, leader *lab.Vault) {
			t.Helper()
			result, err := leader.Run(t.Context(), "", "operator", "step-down")
			require.NoError(t, err)
			require.NoError(t, result.Err())
		},
		"by a crash": func(t *testing.T, leader *lab.Vault) {
			t.Helper()
			leader.Kill()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, cluster := newClusterWorld(t)
			leader := w.Vault
			w.newManagedRole(t)
			before := w.current(t)

			rotation := w.rotateSlowly(t, "ServiceUserInfo", false)
			goes(t, leader)
			for _, node := range cluster.Nodes {
				if node != leader {
					w.requireReads(t, node)
				}
			}
			result := <-rotation
			w.awaitLeader(t, cluster)
			require.NotEqual(t, leader.Name, w.Name)
			after := w.requireWhole(t, before, result)

			require.NoError(t, leader.Restart(w.ctx))
			requireActiveAloneAsked := w.watchStandbys(t, cluster)
			for _, node := range cluster.Nodes {
				w.requireReadsToken(t, node, after)
			}
			w.requireOnlyCurrentLeft(t)
			w.requireRejected(t, before.Token)
			requireActiveAloneAsked()
		})
	}
}

func TestCluster_RotatesOnceOnTheActiveNodeAlsoAfterAFailover(t *testing.T) {
	t.Parallel()
	w, cluster := newClusterWorld(t)
	leader := w.Vault
	requireActiveAloneAsked := w.watchStandbys(t, cluster)
	w.newManagedRole(t, "rotation_period=30s", "grace_period=300s") // due at the first tick even after a slow start
	first := w.current(t)
	for _, node := range cluster.Nodes {
		w.requireReadsToken(t, node, first)
	}

	second := w.awaitVersion(t, 2)
	require.Equal(t, 2, w.calls(t, "ServiceUserCreate"), "only one of three nodes rotates")
	requireActiveAloneAsked()
	leader.Kill()
	for _, node := range cluster.Nodes {
		if node != leader {
			w.requireReadsToken(t, node, second)
		}
	}
	w.awaitLeader(t, cluster)
	require.NotEqual(t, leader.Name, w.Name)

	requireActiveAloneAsked = w.watchStandbys(t, cluster)
	third := w.awaitVersion(t, 3)
	require.Equal(t, 3, w.calls(t, "ServiceUserCreate"))
	requireActiveAloneAsked()
	for _, token := range []issued{first, second, third} {
		w.requireAccepted(t, token.Token)
	}
	w.requireAllTracked(t)
}

// newClusterWorld is newManagedWorld on a cluster. Its Vault is the active node.
func newClusterWorld(t *testing.T) (*world, *lab.Cluster) {
	t.Helper()
	w := newLab(t)
	cluster, err := w.lab.StartCluster(w.ctx)
	require.NoError(t, err)
	w.nodes = cluster.Nodes
	w.awaitLeader(t, cluster)
	w.enable(t)
	w.newAdmin(t)
	return w, cluster
}

// awaitLeader waits for an active node and makes it the world's Vault.
func (w *world) awaitLeader(t *testing.T, cluster *lab.Cluster) {
	t.Helper()
	leader, err := cluster.Leader(w.ctx)
	require.NoError(t, err)
	w.Vault = leader
}

// requireReads asserts that a node returns a token that Modal accepts, if necessary after a failover. It
// returns that token.
func (w *world) requireReads(t *testing.T, node *lab.Vault) issued {
	t.Helper()
	var token issued
	require.NoError(t, lab.Until(w.ctx, node.Name+" to answer", func() (err error) {
		token, err = w.readToken(node.CLI)
		return err
	}))
	w.requireAccepted(t, token.Token)
	return token
}

// requireReadsToken asserts that a node returns this token. A standby of OpenBao reads its own copy of the storage, which
// may be a moment behind.
func (w *world) requireReadsToken(t *testing.T, node *lab.Vault, want issued) {
	t.Helper()
	require.NoError(t, lab.Until(w.ctx, node.Name+" to return the current token", func() error {
		token, err := w.readToken(node.CLI)
		if err == nil && token != want {
			err = fmt.Errorf("it returns version %d, and version %d is current", token.version, want.version)
		}
		return err
	}))
	w.requireAccepted(t, want.Token)
}

// watchStandbys returns an assertion: the active node has connected to Modal, and since the call of
// watchStandbys no standby has. Standbys of OpenBao run the plugin, those of Vault do not.
func (w *world) watchStandbys(t *testing.T, cluster *lab.Cluster) func() {
	t.Helper()
	modal, err := url.Parse(w.emulator.URL)
	require.NoError(t, err)
	asked := func() map[string]int {
		all := map[string]int{}
		for _, node := range cluster.Nodes {
			all[node.Name], err = node.Connections(modal.Host)
			require.NoError(t, err)
		}
		return all
	}
	before, active := asked(), w.Name
	return func() {
		t.Helper()
		now := asked()
		require.NotZero(t, now[active], "the active node never connected to Modal")
		before[active] = now[active]
		require.Equal(t, before, now, "a standby connected to Modal")
	}
}
