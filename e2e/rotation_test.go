// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

const readCreds = `path "modal/creds/ci/toml" { capabilities = ["read"] }`

func TestRotate_UpdatesTheAgentsFileAndEndsOnceModalRejectsTheOldToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.newRole(t, "refresh_interval=5s", "revoke_previous=false")
	agent, err := w.lab.StartAgent(w.ctx, w.Vault, w.policyToken(t, readCreds), "modal/creds/ci/toml")
	require.NoError(t, err)

	info, err := os.Stat(agent.File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	oldFile := w.lab.Dir + "/old.modal.toml"
	require.NoError(t, os.WriteFile(oldFile, w.requireRendered(t, agent, old), 0o600))
	require.NoError(t, w.authenticate(t, agent.File).Err())

	next := w.rotate(t, "grace_period=0")
	w.requireToken(t, next)
	require.NoError(t, lab.Until(w.ctx, "the Agent's file to change by itself", func() error {
		now, err := os.ReadFile(agent.File)
		if err == nil && string(now) == w.toml(old) {
			err = fmt.Errorf("the file still contains %s", old)
		}
		return err
	}))
	w.requireRendered(t, agent, next)
	require.NoError(t, w.authenticate(t, agent.File).Err())

	// The old token works and stays in the revocation queue until an operator deletes it.
	require.NoError(t, w.authenticate(t, oldFile).Err())
	require.Contains(t, w.vault(t, "list", "modal/revocations"), old.ID)
	w.run(t, w.CLI, "", "write", "-f", "modal/revocations/"+old.ID)
	require.Contains(t, w.vault(t, "list", "modal/revocations"), old.ID)

	require.NoError(t, w.emulator.DeleteToken(w.ctx, old.ID))
	w.vault(t, "write", "-f", "modal/revocations/"+old.ID)
	w.requireQueueEmpty(t)
	rejected := w.authenticate(t, oldFile)
	require.Equal(t, 1, rejected.Code)
	require.Contains(t, rejected.Stderr, "Unauthenticated")
	require.NoError(t, w.authenticate(t, agent.File).Err())
}

func TestRotate_ARefusedRotationKeepsTheTokenAndAddsNoRevocation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t)
	before := w.requireToken(t, token)

	deleted := w.newToken(t)
	require.NoError(t, w.emulator.DeleteToken(w.ctx, deleted.ID))
	refused := w.run(t, w.CLI, deleted.Secret, "write", "modal/rotate/ci", "token_id="+deleted.ID, "token_secret=-")
	require.Equal(t, 2, refused.Code)
	require.Contains(t, refused.Stderr, "Code: 400")
	require.Contains(t, refused.Stderr, deleted.ID)

	require.Equal(t, before["version"], w.requireToken(t, token)["version"])
	w.requireQueueEmpty(t)
}

func TestRevocation_AnOperatorCanForgetATokenThatModalAccepts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.newRole(t)
	w.rotate(t, "grace_period=0")

	kept := w.run(t, w.CLI, "", "delete", "modal/revocations/"+old.ID)
	require.Equal(t, 2, kept.Code)
	require.Contains(t, kept.Stderr, "force=true")
	w.vault(t, "delete", "modal/revocations/"+old.ID, "force=true")
	w.requireQueueEmpty(t)
}

func TestCreds_TheSDKFindsAProfileWithADot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newRole(t, "profile=team.prod")
	file := w.lab.Dir + "/team.modal.toml"
	require.NoError(t, os.WriteFile(file, []byte(w.vault(t, "read", "-field=toml", "modal/creds/ci/toml")), 0o600))
	require.NoError(t, w.authenticate(t, file).Err())
}

// authenticate runs a program on Modal's Go SDK with only the given file.
func (w *world) authenticate(t *testing.T, file string) lab.Result {
	t.Helper()
	result, err := w.lab.SDK(w.ctx, file)
	require.NoError(t, err)
	if result.Code == 0 {
		require.Equal(t, "main\nstaging\n", result.Stdout)
	}
	return result
}

// requireRendered asserts that the Agent's file is exactly the token's .modal.toml, and returns the file's
// content.
func (w *world) requireRendered(t *testing.T, agent *lab.Agent, token lab.Token) []byte {
	t.Helper()
	file, err := os.ReadFile(agent.File)
	require.NoError(t, err)
	requireSecret(t, w.toml(token), string(file))
	return file
}

// toml returns the .modal.toml of a token of the role ci.
func (w *world) toml(token lab.Token) string {
	return fmt.Sprintf("[ci]\ntoken_id = %q\ntoken_secret = %q\nserver_url = %q\nactive = true\n", token.ID, token.Secret, w.emulator.URL)
}

// requireQueueEmpty asserts that the revocation queue is empty.
func (w *world) requireQueueEmpty(t *testing.T) {
	t.Helper()
	listed := w.run(t, w.CLI, "", "list", "modal/revocations")
	require.Equal(t, 2, listed.Code, listed.Stdout)
	require.Contains(t, listed.Stderr, "No value found at modal/revocations")
}
