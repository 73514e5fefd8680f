// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// Promises about whose a token is: what the engine may end, and where a token may go.

// imported makes a static role of a service user that people made, and rotates away from it.
func imported(t *testing.T, more ...any) (m *mount, old modaltest.Token) {
	t.Helper()
	m = newMount(t)
	m.write("config", m.newToken())
	old = m.workspace.AddServiceUser("robot-1")
	m.write("roles/ci", also(also(pairData(old), "type", "static"), more...))
	m.write("rotate/ci", also(pairData(m.workspace.AddServiceUser("robot-2")), "force", true, "grace_period", 0))
	return m, old
}

func TestWithTheAdminTokenTheEngineEndsOnlyWhatThisMountMade(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", m.newToken())
	// A writer of a static role brings what is another team's, by whatever name.
	teams := m.workspace.AddServiceUser("team-b")
	anothers := m.workspace.AddServiceUser("vault-00000000-ci-abcdefgh")
	alike := m.workspace.AddServiceUser("vault-2f9f1a7c-ci-abcdefgh")
	m.write("roles/ci", also(pairData(teams), "type", "static"))
	for _, next := range []modaltest.Token{anothers, alike, m.workspace.AddServiceUser("robot")} {
		m.write("rotate/ci", also(pairData(next), "force", true, "grace_period", 0))
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

func TestForceEndsAnImportedServiceUserAtOnce(t *testing.T) {
	t.Parallel()
	for name, more := range map[string][]any{"proven": nil, "unproven": {"verify", false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, old := imported(t, more...)
			require.Equal(t, true, m.write("revocations/"+old.ID, map[string]any{"force": true}).Data["revoked"])
			require.False(t, m.modal.Accepts(old.ID, old.Secret))
			require.Empty(t, m.list("revocations"))
		})
	}
}

func TestAServiceUserThatAMountMadeIsTakenOnAnOperatorsWordAlone(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", m.newToken())
	made := pairData(m.workspace.AddServiceUser("vault-00000000-ci-abcdefgh"))
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/ci", also(made, "type", "static")), "a mount of this engine created it")
	m.write("roles/ci", also(made, "type", "static", "force", true))
	other := pairData(m.workspace.AddServiceUser("robot"))
	m.write("roles/other", also(other, "type", "static"))
	second := pairData(m.workspace.AddServiceUser("vault-00000000-ci-bbbbbbbb"))
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/other", second), "force=true")
}

func TestATokenThatWasNeverProvenPinsNothing(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/ci", also(m.newToken(), "type", "static", "verify", false))
	eves := pairData(m.modal.AddWorkspace("globex").AddMember("eve").NewToken())
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", eves), "write force=true")
	plan := m.write("rotate/ci", also(eves, "dry_run", true)).Data
	require.Contains(t, toJSON(t, plan["problems"]), "force=true")
	m.write("rotate/ci", also(eves, "force", true))
	require.Equal(t, "globex", m.read("creds/ci")["workspace"])
}

func TestAnUndoGoesToNoTokenOfWhichNobodyKnowsWhoseItIs(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	eves := pairData(m.modal.AddWorkspace("globex").AddMember("eve").NewToken())
	m.write("roles/ci", also(eves, "type", "static", "verify", false))
	m.write("rotate/ci", also(m.newToken(), "force", true))
	undo := map[string]any{"to_previous": true}
	require.Contains(t, toJSON(t, m.write("rotate/ci", also(undo, "dry_run", true)).Data["problems"]), "globex")
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", undo), "force=true")
	require.Equal(t, "acme", m.read("creds/ci")["workspace"])
	m.write("rotate/ci", also(eves, "force", true))
	require.Equal(t, "globex", m.read("creds/ci")["workspace"])
}

func TestAnUndoToAnUnprovenTokenOfTheSameOwnerIsFine(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	first := m.newToken()
	m.write("roles/ci", also(first, "type", "static", "verify", false))
	m.write("rotate/ci", also(m.newToken(), "force", true))
	m.write("rotate/ci", map[string]any{"to_previous": true})
	require.Equal(t, first["token_id"], m.tokenID("ci"))
	require.Equal(t, true, m.read("rotate/ci")["verified"])
}

func TestATokenComesBackUntilTheEngineBeganToEndIt(t *testing.T) {
	t.Parallel()
	for name, returns := range map[string]func(m *mount, token map[string]any){
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

			returns(m, token)

			id := textIn(token, "token_id")
			require.False(t, m.inLedger(id), "its entry goes as it becomes current")
			m.minutes(25 * 60)
			require.True(t, m.knows(id))
			require.ElementsMatch(t, m.currentTokens(), m.notes(), "one note for each token that a role has or the ledger follows")
		})
	}
}

// currentTokens are those that roles have, and those of the ledger.
func (m *mount) currentTokens() []string {
	m.t.Helper()
	ids := m.list("revocations")
	for _, name := range m.list("roles") {
		ids = append(ids, m.tokenID(name))
	}
	return ids
}

// notes are the token IDs of which storage holds a note.
func (m *mount) notes() []string {
	m.t.Helper()
	ids, err := m.storage.InmemStorage.List(m.t.Context(), "token/")
	require.NoError(m.t, err)
	return ids
}

func TestNotesOfTokensDoNotPileUp(t *testing.T) {
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
	require.ElementsMatch(t, m.currentTokens(), m.notes())
	require.LessOrEqual(t, len(m.notes()), 4)
}

func TestANoteThatACrashLeftIsSweptAndBlocksNoToken(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	kept := m.addRole("kept")
	token := also(m.newToken(), "type", "static")
	m.storage.plan(cut{at: 1, committed: true, deadly: true})
	require.Error(t, m.try(logical.UpdateOperation, "roles/ci", token))
	m.restart()
	require.Len(t, m.notes(), 2)
	m.write("roles/other", token)
	m.remove("roles/other", nil)
	m.remove("revocations/"+textIn(token, "token_id"), map[string]any{"force": true})
	m.storage.plan(cut{at: 1, committed: true, deadly: true})
	require.Error(t, m.try(logical.UpdateOperation, "roles/ci", token))
	m.restart()
	m.tick()
	require.Equal(t, []string{kept}, m.notes())
}

// try is a request that may fail.
func (m *mount) try(op logical.Operation, path string, data map[string]any) error {
	m.t.Helper()
	_, err := m.handle(op, path, data)
	return err
}

func TestNoNoteStaysOfATokenThatBecameTheAdmins(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := m.newToken()
	m.write("roles/ci", also(token, "type", "static"))
	m.write("rotate/ci", m.newToken())
	m.write("config", token)
	require.ElementsMatch(t, m.currentTokens(), m.notes())
}

func TestAServiceUserOfADeletedRoleIsTakenByForceAndThenLeftToPeople(t *testing.T) {
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
