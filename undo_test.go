// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

func TestUndo_OfAManagedRoleRestoresThePreviousToken(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", nil)
	newer := m.tokenID("ci")
	m.write("roles/ci", map[string]any{"environment_roles": "main=viewer"})

	answer := m.write("rotate/ci", map[string]any{"to_previous": true, "grace_period": 0}).Data

	require.Equal(t, old, m.tokenID("ci"))
	require.Equal(t, int64(3), answer["version"])
	require.Equal(t, newer, answer["previous_token_id"])
	require.Equal(t, []string{newer}, m.list("revocations"))
	require.Equal(t, "viewer", m.serviceUser(old).Roles["main"], "the token returns with the role's current environment roles")
	m.minutes(2)
	require.Empty(t, m.list("revocations"))
	require.Len(t, m.modal.ServiceUsers(), 1)
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true}), "no previous token")
}

func TestUndo_OfAStaticRoleRestoresThePreviousToken(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	old := m.addRole("ci")
	m.write("rotate/ci", m.newToken())
	m.write("rotate/ci", map[string]any{"to_previous": true})
	require.Equal(t, old, m.tokenID("ci"))
	require.Len(t, m.list("revocations"), 1)
	m.write("rotate/ci", map[string]any{"to_previous": true})
	m.modal.DeleteToken(old)
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true}), "Modal rejected token "+old)
}

func TestDryRun_ShowsPlanAndProblemsAndChangesNothing(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.addRole("static")
	m.write("rotate/static", m.newToken())
	users, before := m.modal.ServiceUsers(), m.storage.snapshot(t)

	managed := m.write("rotate/ci", map[string]any{"dry_run": true}).Data
	static := m.write("rotate/static", also(m.newToken(), "dry_run", true)).Data
	undo := m.write("rotate/static", map[string]any{"to_previous": true, "dry_run": true}).Data
	wrong := m.write("rotate/static", also(tokenParameters(someID, someSecret), "dry_run", true)).Data

	require.Contains(t, toJSON(t, managed["plan"]), "give it the environment roles main=contributor")
	require.NotContains(t, managed, "problems")
	require.Contains(t, toJSON(t, static["plan"]), "current as version 3")
	require.NotContains(t, static, "problems")
	require.Contains(t, toJSON(t, undo["plan"]), "current again, as version 3")
	require.Contains(t, toJSON(t, wrong["problems"]), "Modal rejected token "+someID)
	m.unchangedSince(before)
	for i, user := range m.modal.ServiceUsers() {
		require.Equal(t, users[i].Name, user.Name)
	}
	m.workspace.SetServiceUsers(false)
	require.Contains(t, toJSON(t, m.write("rotate/ci", map[string]any{"dry_run": true}).Data["problems"]), "service users")
}

func TestDryRun_OfARoleWithoutATokenShowsTheProblems(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/empty", map[string]any{"type": "static"})
	m.addRole("ci")
	before := m.storage.snapshot(t)
	for _, role := range []string{"empty", "ci"} {
		for says, ask := range map[string]map[string]any{
			"no previous token": {"to_previous": true},
			"token_secret":      {},
		} {
			dry := m.write("rotate/"+role, also(ask, "dry_run", true)).Data
			require.Equal(t, "1. nothing, until the problems are solved", dry["plan"])
			require.Contains(t, dry["problems"], says)
		}
	}
	m.unchangedSince(before)
}

func TestUndo_IgnoresTokensOfAnEarlierRoleOfTheSameName(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	foreign := m.modal.AddWorkspace("globex").AddMember("eve")
	m.write("roles/ci", also(tokenData(foreign.NewToken()), "type", "static"))
	m.write("rotate/ci", tokenData(foreign.NewToken()))
	m.write("rotate/ci", tokenData(foreign.NewToken()))
	m.remove("roles/ci", nil)
	mine := m.addRole("ci")
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true}), "no previous token")
	require.Equal(t, mine, m.tokenID("ci"))

	m.write("rotate/ci", m.newToken())
	m.write("rotate/ci", map[string]any{"to_previous": true})
	require.Equal(t, mine, m.tokenID("ci"))
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
			m := newManagedMount(t)
			m.addManaged("ci", test.made)
			if test.now != nil {
				m.write("roles/ci", test.now)
			}
			m.write("rotate/ci", nil)
			current := m.tokenID("ci")
			if test.cfg != nil {
				m.write("config", test.cfg)
			}
			undo := map[string]any{"to_previous": true}
			plan := m.write("rotate/ci", also(undo, "dry_run", true)).Data
			require.Contains(t, plan["problems"], test.says)
			require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", undo), test.says)
			require.Equal(t, current, m.tokenID("ci"))
		})
	}
}

func TestUndo_RefusesATokenThatModalIsDeleting(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", m.newToken())
	old := m.workspace.AddServiceUser("robot-1")
	m.write("roles/ci", also(tokenData(old), "type", "static"))
	m.write("rotate/ci", also(tokenData(m.workspace.AddServiceUser("robot-2")), "force", true))
	m.modal.KeepDeletedFor(30 * time.Second)
	m.write("revocations/"+old.ID, map[string]any{"force": true})
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true}), "no previous token")
}
