// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// The tests in this file check the owner of a token: which tokens the engine may delete, and which role may take a token.

// imported creates a static role with a service user that people created, and replaces its token.
func imported(t *testing.T, more ...any) (m *mount, old modaltest.Token) {
	t.Helper()
	m = newMount(t)
	m.write("config", m.newToken())
	old = m.workspace.AddServiceUser("robot-1")
	m.write("roles/ci", also(also(tokenData(old), "type", "static"), more...))
	m.write("rotate/ci", also(tokenData(m.workspace.AddServiceUser("robot-2")), "force", true, "grace_period", 0))
	return m, old
}

func TestRevocation_DeletesOnlyServiceUsersThatThisMountCreated(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", m.newToken())
	// A static role can contain the service user of another team, under any name.
	otherTeam := m.workspace.AddServiceUser("team-b")
	otherMount := m.workspace.AddServiceUser("vault-00000000-ci-abcdefgh")
	likeThisMount := m.workspace.AddServiceUser("vault-2f9f1a7c-ci-abcdefgh")
	m.write("roles/ci", also(tokenData(otherTeam), "type", "static"))
	for _, next := range []modaltest.Token{otherMount, likeThisMount, m.workspace.AddServiceUser("robot")} {
		m.write("rotate/ci", also(tokenData(next), "force", true, "grace_period", 0))
	}
	m.remove("roles/ci", nil)

	m.minutes(24 * 60)

	require.Empty(t, m.modal.Calls("ServiceUserDelete"))
	require.Len(t, m.list("revocations"), 4)
	for _, id := range m.list("revocations") {
		entry := m.read("revocations/" + id)
		require.Equal(t, "manual", entry["method"])
		require.Equal(t, "waiting for an operator", entry["state"])
		require.Contains(t, entry["next_step"], "delete service user")
	}
}

func TestRevocation_ForceDeletesAnImportedServiceUserAtOnce(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][]any{"verified": nil, "unverified": {"verify", false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, old := imported(t, more...)
			require.Equal(t, true, m.write("revocations/"+old.ID, map[string]any{"force": true}).Data["revoked"])
			require.False(t, m.modal.Accepts(old.ID, old.Secret))
			require.Empty(t, m.list("revocations"))
		})
	}
}

func TestStatic_ServiceUserThatAnyMountCreatedNeedsForce(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", m.newToken())
	made := tokenData(m.workspace.AddServiceUser("vault-00000000-ci-abcdefgh"))
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/ci", also(made, "type", "static")), "a mount of this engine created it")
	m.write("roles/ci", also(made, "type", "static", "force", true))
	other := tokenData(m.workspace.AddServiceUser("robot"))
	m.write("roles/other", also(other, "type", "static"))
	second := tokenData(m.workspace.AddServiceUser("vault-00000000-ci-bbbbbbbb"))
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/other", second), "force=true")
}

func TestRotate_FromAnUnverifiedTokenNeedsForce(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/ci", also(m.newToken(), "type", "static", "verify", false))
	foreign := tokenData(m.modal.AddWorkspace("globex").AddMember("eve").NewToken())
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", foreign), "write force=true")
	plan := m.write("rotate/ci", also(foreign, "dry_run", true)).Data
	require.Contains(t, toJSON(t, plan["problems"]), "force=true")
	m.write("rotate/ci", also(foreign, "force", true))
	require.Equal(t, "globex", m.read("creds/ci")["workspace"])
}

func TestUndo_RefusesAnUnverifiedTokenOfAnotherOwner(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	foreign := tokenData(m.modal.AddWorkspace("globex").AddMember("eve").NewToken())
	m.write("roles/ci", also(foreign, "type", "static", "verify", false))
	m.write("rotate/ci", also(m.newToken(), "force", true))
	undo := map[string]any{"to_previous": true}
	require.Contains(t, toJSON(t, m.write("rotate/ci", also(undo, "dry_run", true)).Data["problems"]), "globex")
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", undo), "force=true")
	require.Equal(t, "acme", m.read("creds/ci")["workspace"])
	m.write("rotate/ci", also(foreign, "force", true))
	require.Equal(t, "globex", m.read("creds/ci")["workspace"])
}

func TestUndo_AcceptsAnUnverifiedTokenOfTheSameOwner(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	first := m.newToken()
	m.write("roles/ci", also(first, "type", "static", "verify", false))
	m.write("rotate/ci", also(m.newToken(), "force", true))
	m.write("rotate/ci", map[string]any{"to_previous": true})
	require.Equal(t, first["token_id"], m.tokenID("ci"))
	require.Equal(t, true, m.read("rotate/ci")["verified"])
}

func TestRevocations_TokenMayReturnUntilItsDeletionStarts(t *testing.T) {
	t.Parallel()
	for name, bringBack := range map[string]func(m *mount, token map[string]any){
		"the same role made again": func(m *mount, token map[string]any) {
			m.remove("roles/ci", nil)
			m.write("roles/ci", also(token, "type", "static"))
		},
		"another role": func(m *mount, token map[string]any) {
			m.remove("roles/ci", nil)
			m.write("roles/other", also(token, "type", "static"))
		},
		"a rotation of its own role": func(m *mount, token map[string]any) {
			m.write("rotate/ci", m.newToken())
			m.write("rotate/ci", token)
		},
		"a rotation of another role": func(m *mount, token map[string]any) {
			m.remove("roles/ci", nil)
			m.addRole("other")
			m.write("rotate/other", token)
		},
		"the admin token": func(m *mount, token map[string]any) {
			m.remove("roles/ci", nil)
			m.write("config", token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			token := m.newToken()
			m.write("roles/ci", also(token, "type", "static"))

			bringBack(m, token)

			id := textIn(token, "token_id")
			require.False(t, m.inQueue(id), "the revocation goes away when the token becomes current")
			m.minutes(25 * 60)
			require.True(t, m.knows(id))
			require.ElementsMatch(t, m.currentTokens(), m.ownerEntries(), "one owner entry for each current or queued token")
		})
	}
}

// currentTokens returns the IDs of the tokens that belong to a role or are in the revocation queue.
func (m *mount) currentTokens() []string {
	m.t.Helper()
	ids := m.list("revocations")
	for _, name := range m.list("roles") {
		ids = append(ids, m.tokenID(name))
	}
	return ids
}

// ownerEntries returns the token IDs that have an owner entry in storage.
func (m *mount) ownerEntries() []string {
	m.t.Helper()
	ids, err := m.storage.InmemStorage.List(m.t.Context(), "token/")
	require.NoError(m.t, err)
	return ids
}

func TestTokenOwners_DoNotPileUpInStorage(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "1h"})
	m.addRole("static")
	for range 10 {
		m.clock.advance(time.Hour)
		m.write("rotate/static", also(m.newToken(), "grace_period", 0))
		m.minutes(2)
	}
	for _, id := range m.list("revocations") {
		if entry := m.read("revocations/" + id); entry["role"] == "static" {
			m.remove("revocations/"+id, map[string]any{"force": true})
		}
	}
	m.minutes(61)
	require.ElementsMatch(t, m.currentTokens(), m.ownerEntries())
	require.LessOrEqual(t, len(m.ownerEntries()), 4)
}

func TestTokenOwners_LeftByACrashAreRemovedAndBlockNoToken(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	kept := m.addRole("kept")
	token := also(m.newToken(), "type", "static")
	m.storage.plan(cut{at: 1, committed: true, deadly: true})
	require.Error(t, m.try(logical.UpdateOperation, "roles/ci", token))
	m.restart()
	require.Len(t, m.ownerEntries(), 2)
	m.write("roles/other", token)
	m.remove("roles/other", nil)
	m.remove("revocations/"+textIn(token, "token_id"), map[string]any{"force": true})
	m.storage.plan(cut{at: 1, committed: true, deadly: true})
	require.Error(t, m.try(logical.UpdateOperation, "roles/ci", token))
	m.restart()
	m.tick()
	require.Equal(t, []string{kept}, m.ownerEntries())
}

// try sends a request that may fail.
func (m *mount) try(op logical.Operation, path string, data map[string]any) error {
	m.t.Helper()
	_, err := m.handle(op, path, data)
	return err
}

func TestTokenOwners_OfATokenMovedToConfigAreRemoved(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := m.newToken()
	m.write("roles/ci", also(token, "type", "static"))
	m.write("rotate/ci", m.newToken())
	m.write("config", token)
	require.ElementsMatch(t, m.currentTokens(), m.ownerEntries())
}

func TestStatic_TakesAServiceUserOfADeletedRoleOnlyByForce(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	pair := map[string]any{"token_id": m.read("creds/ci")["token_id"], "token_secret": m.read("creds/ci")["token_secret"]}
	m.remove("roles/ci", nil)
	m.refused(logical.UpdateOperation, "roles/ci", also(pair, "type", "static"))
	m.write("roles/ci", also(pair, "type", "static", "force", true))
	m.minutes(30)
	require.True(t, m.knows(textIn(pair, "token_id")))
}
