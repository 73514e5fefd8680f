// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestUndo_OfAManagedRoleRestoresThePreviousToken(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	newer := m.TokenID("ci")
	m.Write("roles/ci", map[string]any{"environment_roles": "main=viewer"})

	answer := m.Write("rotate/ci", map[string]any{"to_previous": true, "grace_period": 0}).Data

	require.Equal(t, old, m.TokenID("ci"))
	require.Equal(t, int64(3), answer["version"])
	require.Equal(t, newer, answer["previous_token_id"])
	require.Equal(t, []string{newer}, m.List("revocations"))
	require.Equal(t, "viewer", m.ServiceUser(old).Roles["main"], "the token returns with the role's current environment roles")
	m.Minutes(2)
	require.Empty(t, m.List("revocations"))
	require.Len(t, m.Modal.ServiceUsers(), 1)
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true}), "no previous token")
}

func TestUndo_OfAStaticRoleRestoresThePreviousToken(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci")
	m.Write("rotate/ci", m.NewToken())
	m.Write("rotate/ci", map[string]any{"to_previous": true})
	require.Equal(t, old, m.TokenID("ci"))
	require.Len(t, m.List("revocations"), 1)
	m.Write("rotate/ci", map[string]any{"to_previous": true})
	m.Modal.DeleteToken(old)
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true}), "Modal rejected token "+old)
}

func TestDryRun_ShowsPlanAndProblemsAndChangesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.AddRole("static")
	m.Write("rotate/static", m.NewToken())
	users, before := m.Modal.ServiceUsers(), m.Storage.Snapshot(t)

	managed := m.Write("rotate/ci", map[string]any{"dry_run": true}).Data
	static := m.Write("rotate/static", mounttest.Also(m.NewToken(), "dry_run", true)).Data
	undo := m.Write("rotate/static", map[string]any{"to_previous": true, "dry_run": true}).Data
	wrong := m.Write("rotate/static", mounttest.Also(mounttest.TokenParameters(mounttest.SomeID, mounttest.SomeSecret), "dry_run", true)).Data

	require.Contains(t, mounttest.ToJSON(t, managed["plan"]), "give it the environment roles main=contributor")
	require.NotContains(t, managed, "problems")
	require.Contains(t, mounttest.ToJSON(t, static["plan"]), "current as version 3")
	require.NotContains(t, static, "problems")
	require.Contains(t, mounttest.ToJSON(t, undo["plan"]), "current again, as version 3")
	require.Contains(t, mounttest.ToJSON(t, wrong["problems"]), "Modal rejected token "+mounttest.SomeID)
	m.UnchangedSince(before)
	for i, user := range m.Modal.ServiceUsers() {
		require.Equal(t, users[i].Name, user.Name)
	}
	m.Workspace.SetServiceUsers(false)
	require.Contains(t, mounttest.ToJSON(t, m.Write("rotate/ci", map[string]any{"dry_run": true}).Data["problems"]), "service users")
}

func TestDryRun_OfARoleWithoutATokenShowsTheProblems(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("roles/empty", map[string]any{"type": "static"})
	m.AddRole("ci")
	before := m.Storage.Snapshot(t)
	for _, role := range []string{"empty", "ci"} {
		for says, ask := range map[string]map[string]any{
			"no previous token": {"to_previous": true},
			"token_secret":      {},
		} {
			dry := m.Write("rotate/"+role, mounttest.Also(ask, "dry_run", true)).Data
			require.Equal(t, "1. nothing, until the problems are solved", dry["plan"])
			require.Contains(t, dry["problems"], says)
		}
	}
	m.UnchangedSince(before)
}

func TestUndo_IgnoresTokensOfAnEarlierRoleOfTheSameName(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	foreign := m.Modal.AddWorkspace("globex").AddMember("eve")
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(foreign.NewToken()), "type", "static"))
	m.Write("rotate/ci", mounttest.TokenData(foreign.NewToken()))
	m.Write("rotate/ci", mounttest.TokenData(foreign.NewToken()))
	m.Remove("roles/ci", nil)
	mine := m.AddRole("ci")
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true}), "no previous token")
	require.Equal(t, mine, m.TokenID("ci"))

	m.Write("rotate/ci", m.NewToken())
	m.Write("rotate/ci", map[string]any{"to_previous": true})
	require.Equal(t, mine, m.TokenID("ci"))
}

func TestUndo_FollowsTheCurrentSettingsAndLimits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		made map[string]any
		now  map[string]any
		cfg  map[string]any
		says string
	}{
		"scope":  {map[string]any{"scoped": false}, map[string]any{"scoped": true}, nil, "scoped=false"},
		"limits": {nil, nil, map[string]any{"max_environment_role": "viewer"}, "max_environment_role"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			m.AddManaged("ci", test.made)
			if test.now != nil {
				m.Write("roles/ci", test.now)
			}
			m.Write("rotate/ci", nil)
			current := m.TokenID("ci")
			if test.cfg != nil {
				m.Write("config", test.cfg)
			}
			undo := map[string]any{"to_previous": true}
			plan := m.Write("rotate/ci", mounttest.Also(undo, "dry_run", true)).Data
			require.Contains(t, plan["problems"], test.says)
			require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", undo), test.says)
			require.Equal(t, current, m.TokenID("ci"))
		})
	}
}

func TestUndo_RefusesATokenThatModalIsDeleting(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", m.NewToken())
	old := m.Workspace.AddServiceUser("robot-1")
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(old), "type", "static"))
	m.Write("rotate/ci", mounttest.Also(mounttest.TokenData(m.Workspace.AddServiceUser("robot-2")), "force", true))
	m.Modal.KeepDeletedFor(30 * time.Second)
	m.Write("revocations/"+old.ID, map[string]any{"force": true})
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true}), "no previous token")
}
