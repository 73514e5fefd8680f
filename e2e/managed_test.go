// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestRotate_AManagedRoleCreatesAndDeletesServiceUsers(t *testing.T) {
	t.Parallel()
	w := newManagedWorld(t)
	w.newManagedRole(t)

	first := w.current(t)
	require.EqualValues(t, 1, first.version)
	require.Equal(t, lab.ServiceUser{
		Name: w.onlyUser(t).Name, TokenID: first.ID, Scoped: true,
		Roles: map[string]string{"main": "contributor", "staging": "viewer"},
	}, w.onlyUser(t))
	require.Regexp(t, `^vault-[0-9a-f]{8}-gpu-[a-z0-9]{8}$`, w.onlyUser(t).Name)
	w.requireForms(t, first)

	// A change of environment_roles applies to the existing service user.
	w.vault(t, "write", "modal/roles/gpu", "environment_roles=main=viewer")
	requireSame(t, first, w.current(t))
	require.Equal(t, "viewer", w.onlyUser(t).Roles["main"])
	require.NotContains(t, []string{"viewer", "contributor"}, w.onlyUser(t).Roles["staging"])

	plan := w.vault(t, "write", "modal/rotate/gpu", "dry_run=true")
	require.Contains(t, plan, "version 2")
	requireSame(t, first, w.current(t))
	w.onlyUser(t)

	w.vault(t, "write", "-f", "modal/rotate/gpu")
	second := w.current(t)
	require.EqualValues(t, 2, second.version)
	require.NotEqual(t, first.ID, second.ID)
	early := w.run(t, w.CLI, "", "write", "-f", "modal/revocations/"+first.ID)
	require.Equal(t, 2, early.Code)
	require.Contains(t, early.Stderr, "grace period")
	w.requireAccepted(t, first.Token)
	w.requireAccepted(t, second.Token)

	w.vault(t, "write", "modal/rotate/gpu", "to_previous=true")
	requireSame(t, issued{first.Token, 3}, w.current(t))
	w.vault(t, "write", "modal/rotate/gpu", "grace_period=0")
	last := w.current(t)
	require.EqualValues(t, 4, last.version)
	w.requireAllTracked(t)

	w.endAll(t)
	require.Equal(t, last.ID, w.onlyUser(t).TokenID)
	w.requireRejected(t, first.Token)
	w.requireRejected(t, second.Token)
	w.requireAccepted(t, last.Token)

	w.vault(t, "delete", "modal/roles/gpu")
	w.requireAllTracked(t)
	w.endAll(t)
	require.Empty(t, w.state(t).ServiceUsers)
	w.requireRejected(t, last.Token)
	require.Equal(t, 2, w.run(t, w.CLI, "", "read", "modal/creds/gpu").Code)
}

// requireForms asserts that every form of the role gpu contains the token and that Modal's SDK accepts it.
func (w *world) requireForms(t *testing.T, token issued) {
	t.Helper()
	toml := w.vault(t, "read", "-field=toml", "modal/creds/gpu/toml")
	requireSecret(t, fmt.Sprintf("[gpu]\ntoken_id = %q\ntoken_secret = %q\nserver_url = %q\nactive = true\n",
		token.ID, token.Secret, w.emulator.URL), toml)
	requireSecret(t, strings.Replace(toml, "active = true\n", "", 1), w.vault(t, "read", "-field=toml", "modal/creds/gpu/profile"))
	env := w.read(t, "modal/creds/gpu/env")
	require.ElementsMatch(t, []string{"MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_SERVER_URL"}, slices.Collect(maps.Keys(env)))
	require.Equal(t, token.ID, env["MODAL_TOKEN_ID"])
	requireSecret(t, token.Secret, env["MODAL_TOKEN_SECRET"])

	file := w.lab.Dir + "/gpu.modal.toml"
	require.NoError(t, os.WriteFile(file, []byte(toml), 0o600))
	require.NoError(t, w.authenticate(t, file).Err())
}

// issued is a token as a role returned it.
type issued struct {
	lab.Token
	version int64
}

// requireSame compares two tokens without showing a secret.
func requireSame(t *testing.T, want, got issued) {
	t.Helper()
	require.Equal(t, want.ID, got.ID)
	require.Equal(t, want.version, got.version)
	requireSecret(t, want.Secret, got.Secret)
}

// newManagedWorld is newWorld with an admin token in its config.
func newManagedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.newAdmin(t)
	return w
}

// newAdmin gives the engine a token of the workspace's owner, so that the engine can create service users.
func (w *world) newAdmin(t *testing.T) lab.Token {
	t.Helper()
	admin := w.newToken(t)
	require.NoError(t, w.run(t, w.CLI, admin.Secret, "write", "modal/config", "token_id="+admin.ID, "token_secret=-").Err())
	return admin
}

// newManagedRole creates the managed role gpu, with optional fields.
func (w *world) newManagedRole(t *testing.T, fields ...string) {
	t.Helper()
	w.vault(t, append([]string{
		"write", "modal/roles/gpu", "type=managed", "environment_roles=main=contributor,staging=viewer", "refresh_interval=5s",
	}, fields...)...)
}

// current returns the current token of the role gpu.
func (w *world) current(t *testing.T) issued {
	t.Helper()
	token, err := w.readToken(w.CLI)
	require.NoError(t, err)
	return token
}

// readToken reads the current token of the role gpu from any server, with any Vault token.
func (w *world) readToken(cli lab.CLI) (issued, error) {
	result, err := cli.Run(w.ctx, "", "read", "-format=json", "modal/creds/gpu")
	if err != nil {
		return issued{}, err
	}
	if err = result.Err(); err != nil {
		return issued{}, err
	}
	var answer struct {
		Data struct {
			lab.Token
			Version int64 `json:"version"`
		}
	}
	err = json.Unmarshal([]byte(result.Stdout), &answer)
	return issued{answer.Data.Token, answer.Data.Version}, err
}

// list returns the keys of a list, and none if Vault finds no value.
func (w *world) list(t *testing.T, path string) []string {
	t.Helper()
	result := w.run(t, w.CLI, "", "list", "-format=json", path)
	if result.Code == 2 && strings.TrimSpace(result.Stdout) == "{}" {
		return nil
	}
	require.NoError(t, result.Err())
	var keys []string
	require.NoError(t, json.Unmarshal([]byte(result.Stdout), &keys))
	return keys
}

// state returns the emulator's state.
func (w *world) state(t *testing.T) lab.State {
	t.Helper()
	state, err := w.emulator.State(w.ctx)
	require.NoError(t, err)
	return state
}

// onlyUser asserts that exactly one service user exists at the emulator, and returns it.
func (w *world) onlyUser(t *testing.T) lab.ServiceUser {
	t.Helper()
	users := w.state(t).ServiceUsers
	require.Len(t, users, 1)
	return users[0]
}

// requireAllTracked asserts that every service user at the emulator is a role's current one or in the
// revocation queue.
func (w *world) requireAllTracked(t *testing.T) {
	t.Helper()
	known := w.list(t, "modal/revocations")
	for _, role := range w.list(t, "modal/roles") {
		known = append(known, fmt.Sprint(w.read(t, "modal/creds/"+role)["token_id"]))
	}
	for _, user := range w.state(t).ServiceUsers {
		require.True(t, slices.Contains(known, user.TokenID) || slices.Contains(known, user.Name),
			"Vault does not track service user %s (%s); it tracks: %s", user.Name, user.TokenID, known)
	}
}

// endAll lets the engine end every revocation now, grace period or not, and asserts that the queue is empty.
func (w *world) endAll(t *testing.T) {
	t.Helper()
	for _, id := range w.list(t, "modal/revocations") {
		require.NotEmpty(t, id, "a revocation must have an ID")
		require.Equal(t, true, parse(t, w.vault(t, "write", "-format=json", "modal/revocations/"+id, "force=true"))["revoked"], id)
	}
	w.requireQueueEmpty(t)
}
