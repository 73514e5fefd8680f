// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestVerify_ShowsLastUseChangedRolesAndChangedExpiry(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci")
	m.Clock.Advance(time.Hour)
	read := m.Read("creds/ci")
	require.True(t, m.Modal.Use(id, mounttest.TextIn(read, "token_secret")))
	m.Clock.Advance(time.Hour)
	m.Modal.SetExpiry(id, mounttest.StartTime.Add(20*mounttest.Day))
	m.Workspace.SetServiceUserRole(m.ServiceUser(id).Name, "main", "viewer")

	resp := m.Write("verify/ci", nil)

	require.Equal(t, "2026-03-01T13:00:00Z", resp.Data["last_used_at"])
	require.Equal(t, true, resp.Data["roles_differ"])
	require.Equal(t, "2026-03-21T12:00:00Z", resp.Data["expires_at"])
	require.Contains(t, resp.Warnings[0], "expires on 2026-03-21T12:00:00Z, but the engine had stored that it expires never: the engine rotates the role at 2026-03-19T12:00:00Z")
	require.Equal(t, "2026-03-21T12:00:00Z", m.Read("creds/ci")["expires_at"])
	require.Equal(t, mounttest.StartTime.Add(18*mounttest.Day), m.NextRotation("ci"))
	require.Empty(t, m.Write("verify/ci", nil).Warnings)
}

func TestVerify_CustomRoleGivenAtModalIsShownAndReplaced(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci")
	m.Workspace.AddCustomRole("viewer at night", "secret.read")
	name := m.ServiceUser(id).Name
	m.Workspace.SetServiceUserRole(name, "main", "viewer at night")

	answer := m.Write("verify/ci", nil).Data

	require.Equal(t, true, answer["roles_differ"])
	require.Equal(t, map[string]modalapi.EnvironmentRole{"main": "viewer at night (custom)"}, answer["environment_roles"])
	m.Minutes(2)
	require.Equal(t, map[string]string{"main": "contributor"}, m.ServiceUser(id).Roles)
}

func TestVerify_TellsTheLastUseOfARejectedTokenToo(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddRole("personal")
	m.Clock.Advance(time.Hour)
	require.True(t, m.Modal.Use(id, m.Credential("personal").Secret))
	used := m.Clock.Now().Format(time.RFC3339)
	m.Clock.Advance(time.Hour)
	m.Modal.SetDisabled(id, true)

	answer := m.Write("verify/personal", nil).Data

	require.Equal(t, false, answer["accepted"])
	require.Equal(t, used, answer["last_used_at"], "after a leak this is the question")
	require.Equal(t, int64(1), answer["version"])
}

func TestVerify_NextStepOfARejectedTokenIsTheEnginesOrTheOperators(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy map[string]any
		step   string
	}{
		"rotated by the engine": {nil, "nothing to do: the engine rotates the role within a minute or so; to rotate it now: vault write -f modal/rotate/ci"},
		"rotated on demand":     {map[string]any{"disable_automated_rotation": true}, "replace the token with: vault write -f modal/rotate/ci"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			m.Modal.DeleteToken(m.AddManaged("ci", test.policy))

			answer := m.Write("verify/ci", nil).Data

			require.Equal(t, false, answer["accepted"])
			require.Equal(t, test.step, answer["next_step"])
		})
	}
}

func TestVerify_KeepsTheTimeSinceWhichModalRejectsTheToken(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Modal.DeleteToken(m.AddRole("ci"))
	m.Write("verify/ci", nil)
	m.Clock.Advance(time.Hour)

	m.Write("verify/ci", nil)

	warnings := m.Must(logical.ReadOperation, "creds/ci", nil).Warnings
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "since 2026-03-01T12:00:00Z: replace it with: vault write modal/rotate/ci ")
	require.Len(t, m.EventsOf("modal/token-rejected"), 1)
}

func TestEvents_ExpiryWarningNamesTheRole(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("roles/ci", mounttest.Also(m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(20*mounttest.Day))), "type", "static"))
	m.Tick()
	sent := m.Events.Events[len(m.Events.Events)-1]
	require.Equal(t, "modal/expiry-warning", string(sent.Type))
	metadata := sent.Event.GetMetadata().AsMap()
	require.Equal(t, "rotate/ci", metadata["path"])
	require.Equal(t, "creds/ci", metadata["data_path"])
	require.Equal(t, "ci", metadata["role"])
}
