// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestRotate_OnScheduleUpdatesTheAgentsFileAndRevokesTheOldToken(t *testing.T) {
	t.Parallel()
	w := newManagedWorld(t)
	w.newManagedRole(t, "rotation_period=10s", "grace_period=30s")
	first := w.current(t)
	agent, err := w.lab.StartAgent(w.ctx, w.Vault, w.policyToken(t, `path "modal/creds/gpu/toml" { capabilities = ["read"] }`), "modal/creds/gpu/toml")
	require.NoError(t, err)
	require.Contains(t, w.file(t, agent.File), first.ID)
	oldFile := w.lab.Dir + "/old.modal.toml"
	require.NoError(t, os.WriteFile(oldFile, []byte(w.file(t, agent.File)), 0o600))
	require.NoError(t, w.authenticate(t, oldFile).Err())

	second := w.awaitVersion(t, 2)
	require.NoError(t, lab.Until(w.ctx, "the Agent's file to contain the new token", func() error {
		text, readErr := os.ReadFile(agent.File)
		if readErr == nil && !strings.Contains(string(text), second.ID) {
			readErr = fmt.Errorf("the file does not contain %s", second)
		}
		return readErr
	}))
	require.NoError(t, w.authenticate(t, agent.File).Err())
	require.Contains(t, w.vault(t, "list", "-detailed", "modal/rotate"), "gpu")

	revocation := w.read(t, "modal/revocations/"+first.ID)
	require.Equal(t, "automatic", revocation["method"])
	require.Equal(t, "grace period", revocation["state"])
	require.NoError(t, w.authenticate(t, oldFile).Err())
	require.NoError(t, lab.Until(w.ctx, "the engine to revoke the old token", func() error {
		listed, listErr := w.Run(w.ctx, "", "list", "modal/revocations")
		if listErr == nil && strings.Contains(listed.Stdout, first.ID) {
			listErr = fmt.Errorf("%s is still in the revocation queue", first)
		}
		return listErr
	}))
	rejected := w.authenticate(t, oldFile)
	require.Equal(t, 1, rejected.Code)
	require.Contains(t, rejected.Stderr, "Unauthenticated")
	w.requireAllTracked(t)
	require.Equal(t, int(w.current(t).version), w.calls(t, "ServiceUserCreate"), "one service user for each version")
}

// awaitVersion waits until the role gpu reaches a version by itself, and returns the token.
func (w *world) awaitVersion(t *testing.T, version int64) issued {
	t.Helper()
	var token issued
	require.NoError(t, lab.Until(w.ctx, "the role to be rotated on schedule", func() error {
		var err error
		if token, err = w.readToken(w.CLI); err == nil && token.version < version {
			err = fmt.Errorf("the role is at version %d", token.version)
		}
		return err
	}))
	require.Equal(t, version, token.version)
	return token
}

// calls returns the number of calls of an RPC.
func (w *world) calls(t *testing.T, rpc string) int {
	t.Helper()
	count := 0
	for _, call := range w.state(t).Calls {
		if call.Method == rpc {
			count++
		}
	}
	return count
}
