// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// The tests in this file check the owner of a token: which tokens the engine may delete, and which role may take a token.

// imported creates a static role with a service user that people created, and replaces its token.
func imported(t *testing.T, more ...any) (m *mounttest.Mount, old modaltest.Token) {
	t.Helper()
	m = mounttest.New(t)
	m.Write("config", m.NewToken())
	old = m.Workspace.AddServiceUser("robot-1")
	m.Write("roles/ci", mounttest.Also(mounttest.Also(mounttest.TokenData(old), "type", "static"), more...))
	m.Write("rotate/ci", mounttest.Also(mounttest.TokenData(m.Workspace.AddServiceUser("robot-2")), "force", true, "grace_period", 0))
	return m, old
}

func TestRevocation_DeletesOnlyServiceUsersThatThisMountCreated(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", m.NewToken())
	// A static role can contain the service user of another team, under any name.
	otherTeam := m.Workspace.AddServiceUser("team-b")
	otherMount := m.Workspace.AddServiceUser("vault-00000000-ci-abcdefgh")
	likeThisMount := m.Workspace.AddServiceUser("vault-2f9f1a7c-ci-abcdefgh")
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(otherTeam), "type", "static"))
	for _, next := range []modaltest.Token{otherMount, likeThisMount, m.Workspace.AddServiceUser("robot")} {
		m.Write("rotate/ci", mounttest.Also(mounttest.TokenData(next), "force", true, "grace_period", 0))
	}
	m.Remove("roles/ci", nil)

	m.Minutes(24 * 60)

	require.Empty(t, m.Modal.Calls("ServiceUserDelete"))
	require.Len(t, m.List("revocations"), 4)
	for _, id := range m.List("revocations") {
		entry := m.Read("revocations/" + id)
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
			require.Equal(t, true, m.Write("revocations/"+old.ID, map[string]any{"force": true}).Data["revoked"])
			require.False(t, m.Modal.Accepts(old.ID, old.Secret))
			require.Empty(t, m.List("revocations"))
		})
	}
}

func TestStatic_ServiceUserThatAnyMountCreatedNeedsForce(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", m.NewToken())
	made := mounttest.TokenData(m.Workspace.AddServiceUser("vault-00000000-ci-abcdefgh"))
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", mounttest.Also(made, "type", "static")), "a mount of this engine created it")
	m.Write("roles/ci", mounttest.Also(made, "type", "static", "force", true))
	other := mounttest.TokenData(m.Workspace.AddServiceUser("robot"))
	m.Write("roles/other", mounttest.Also(other, "type", "static"))
	second := mounttest.TokenData(m.Workspace.AddServiceUser("vault-00000000-ci-bbbbbbbb"))
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/other", second), "force=true")
	m.Write("roles/empty", map[string]any{"type": "static"})
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/empty", second), "a mount of this engine created it")
	for _, role := range []string{"a_b", "a-b", "7"} {
		made := mounttest.TokenData(m.Workspace.AddServiceUser("vault-0a1b2c3d-" + role + "-abcdefgh"))
		require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/empty", made), "a mount of this engine created it", role)
	}
	m.Write("roles/later", mounttest.Also(second, "type", "static", "verify", false))
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/later", second), "a mount of this engine created it", "Modal has told its owner only now")
	require.Empty(t, m.Read("creds/later")["workspace"])
	m.Write("roles/later", mounttest.Also(second, "force", true))
	require.Equal(t, "acme", m.Read("creds/later")["workspace"])
}

func TestRotate_FromAnUnverifiedTokenNeedsForce(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("roles/ci", mounttest.Also(m.NewToken(), "type", "static", "verify", false))
	foreign := mounttest.TokenData(m.Modal.AddWorkspace("globex").AddMember("eve").NewToken())
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", foreign), "write force=true")
	plan := m.Write("rotate/ci", mounttest.Also(foreign, "dry_run", true)).Data
	require.Contains(t, mounttest.ToJSON(t, plan["problems"]), "force=true")
	m.Write("rotate/ci", mounttest.Also(foreign, "force", true))
	require.Equal(t, "globex", m.Read("creds/ci")["workspace"])
}

func TestUndo_RefusesAnUnverifiedTokenOfAnotherOwner(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	foreign := mounttest.TokenData(m.Modal.AddWorkspace("globex").AddMember("eve").NewToken())
	m.Write("roles/ci", mounttest.Also(foreign, "type", "static", "verify", false))
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "force", true))
	undo := map[string]any{"to_previous": true}
	require.Contains(t, mounttest.ToJSON(t, m.Write("rotate/ci", mounttest.Also(undo, "dry_run", true)).Data["problems"]), "globex")
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", undo), "force=true")
	require.Equal(t, "acme", m.Read("creds/ci")["workspace"])
	m.Write("rotate/ci", mounttest.Also(foreign, "force", true))
	require.Equal(t, "globex", m.Read("creds/ci")["workspace"])
}

func TestUndo_AcceptsAnUnverifiedTokenOfTheSameOwner(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	first := m.NewToken()
	m.Write("roles/ci", mounttest.Also(first, "type", "static", "verify", false))
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "force", true))
	m.Write("rotate/ci", map[string]any{"to_previous": true})
	require.Equal(t, first["token_id"], m.TokenID("ci"))
	require.Equal(t, true, m.Read("rotate/ci")["verified"])
}

func TestRevocations_TokenMayReturnUntilItsDeletionStarts(t *testing.T) {
	t.Parallel()
	for name, bringBack := range map[string]func(m *mounttest.Mount, token map[string]any){
		"the same role made again": func(m *mounttest.Mount, token map[string]any) {
			m.Remove("roles/ci", nil)
			m.Write("roles/ci", mounttest.Also(token, "type", "static"))
		},
		"another role": func(m *mounttest.Mount, token map[string]any) {
			m.Remove("roles/ci", nil)
			m.Write("roles/other", mounttest.Also(token, "type", "static"))
		},
		"a rotation of its own role": func(m *mounttest.Mount, token map[string]any) {
			m.Write("rotate/ci", m.NewToken())
			m.Write("rotate/ci", token)
		},
		"a rotation of another role": func(m *mounttest.Mount, token map[string]any) {
			m.Remove("roles/ci", nil)
			m.AddRole("other")
			m.Write("rotate/other", token)
		},
		"the admin token": func(m *mounttest.Mount, token map[string]any) {
			m.Remove("roles/ci", nil)
			m.Write("config", token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.New(t)
			token := m.NewToken()
			m.Write("roles/ci", mounttest.Also(token, "type", "static"))

			bringBack(m, token)

			id := mounttest.TextIn(token, "token_id")
			require.False(t, m.InQueue(id), "the revocation goes away when the token becomes current")
			m.Minutes(25 * 60)
			require.True(t, m.Knows(id))
			require.ElementsMatch(t, m.CurrentTokens(), m.OwnerEntries(), "one owner entry for each current or queued token")
		})
	}
}

func TestTokenOwners_DoNotPileUpInStorage(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "1h"})
	m.AddRole("static")
	for range 10 {
		m.Clock.Advance(time.Hour)
		m.Write("rotate/static", mounttest.Also(m.NewToken(), "grace_period", 0))
		m.Minutes(2)
	}
	for _, id := range m.List("revocations") {
		if entry := m.Read("revocations/" + id); entry["role"] == "static" {
			m.Remove("revocations/"+id, map[string]any{"force": true})
		}
	}
	m.Minutes(61)
	require.ElementsMatch(t, m.CurrentTokens(), m.OwnerEntries())
	require.LessOrEqual(t, len(m.OwnerEntries()), 4)
}

func TestTokenOwners_LeftByACrashAreRemovedAndBlockNoToken(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	kept := m.AddRole("kept")
	token := mounttest.Also(m.NewToken(), "type", "static")
	m.Storage.Plan(mounttest.Cut{At: 1, Committed: true, Deadly: true})
	require.Error(t, m.Try(logical.UpdateOperation, "roles/ci", token))
	m.Restart()
	require.Len(t, m.OwnerEntries(), 2)
	m.Write("roles/other", token)
	m.Remove("roles/other", nil)
	m.Remove("revocations/"+mounttest.TextIn(token, "token_id"), map[string]any{"force": true})
	m.Storage.Plan(mounttest.Cut{At: 1, Committed: true, Deadly: true})
	require.Error(t, m.Try(logical.UpdateOperation, "roles/ci", token))
	m.Restart()
	m.Tick()
	require.Equal(t, []string{kept}, m.OwnerEntries())
}

func TestTokenOwners_OfATokenMovedToConfigAreRemoved(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.NewToken()
	m.Write("roles/ci", mounttest.Also(token, "type", "static"))
	m.Write("rotate/ci", m.NewToken())
	m.Write("config", token)
	require.ElementsMatch(t, m.CurrentTokens(), m.OwnerEntries())
}

func TestStatic_TakesAServiceUserOfADeletedRoleOnlyByForce(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	pair := map[string]any{"token_id": m.Read("creds/ci")["token_id"], "token_secret": m.Read("creds/ci")["token_secret"]}
	m.Remove("roles/ci", nil)
	m.Refused(logical.UpdateOperation, "roles/ci", mounttest.Also(pair, "type", "static"))
	m.Write("roles/ci", mounttest.Also(pair, "type", "static", "force", true))
	m.Minutes(30)
	require.True(t, m.Knows(mounttest.TextIn(pair, "token_id")))
}

func TestApproval_TheRolesTokenDeletesNoTokenOfAnUnknownOwner(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	current := m.AddRole("ci") // alice may delete any token of the workspace
	m.Modal.Inject("TokenDelete", modaltest.Fault{
		Code: codes.PermissionDenied, Message: "not now", Times: -1, Match: func(call modaltest.Call) bool { return call.TokenID != current },
	})
	m.Write("rotate/ci/approval", nil)

	resp, approved := m.Approved("rotate/ci/approval", m.Workspace.AddMember("bob"))

	require.Equal(t, "refused", resp.Data["state"])
	m.Minutes(3)
	require.NotEmpty(t, m.Modal.Calls("TokenDelete"))
	for _, call := range m.Modal.Calls("TokenDelete") {
		require.Equal(t, approved.ID, call.TokenID, "only the approved token may delete itself")
	}
	require.True(t, m.Knows(approved.ID))
	require.True(t, m.InQueue(approved.ID))
}

func TestStatic_AnUnverifiedTokenOfAnotherOwnerIsRefused(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	admin := m.NewToken()
	m.Write("config", admin)
	unverified := m.NewToken()
	m.Write("roles/mine", mounttest.Also(unverified, "type", "static", "verify", false))
	m.AddRole("other")
	for says, token := range map[string]map[string]any{"is the admin token in config": admin, "already belongs to another role of this mount": unverified} {
		token = mounttest.Also(token, "verify", false, "force", true)
		require.Contains(t, m.Refused(logical.UpdateOperation, "roles/new", mounttest.Also(token, "type", "static")), says)
		require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/other", token), says)
	}
}

func TestStatic_TheVerificationOfATokenBroughtAgainIsAnEvent(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := mounttest.Also(m.NewToken(), "type", "static")
	m.Write("roles/ci", mounttest.Also(token, "verify", false))

	m.Write("roles/ci", token)

	events := m.EventsOf("modal/role-write")
	require.Len(t, events, 2)
	require.Equal(t, "alice", events[1]["identity"])
	require.Equal(t, m.Workspace.ID(), events[1]["workspace_id"])
	require.Contains(t, m.Lines()[len(m.Lines())-1], "identity=alice")
}
