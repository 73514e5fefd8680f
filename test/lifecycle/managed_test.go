// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestManaged_CreateMakesAScopedServiceUserWithExactlyItsRoles(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)

	id := m.AddManaged("gpu.team", map[string]any{"environment_roles": "main=contributor,staging=viewer", "token_ttl": "60d"})

	user := m.ServiceUser(id)
	require.Regexp(t, `^vault-2f9f1a7c-gpu-team-[a-z0-9]{8}$`, user.Name)
	require.True(t, user.Scoped)
	require.Equal(t, map[string]string{"main": "contributor", "staging": "viewer"}, user.Roles)
	creds := m.Read("creds/gpu.team")
	require.True(t, m.Modal.Accepts(id, creds["token_secret"].(string)))
	require.Equal(t, "2026-04-30T12:00:00Z", creds["expires_at"])
	require.Equal(t, "acme", creds["workspace"])
	require.Equal(t, int64(1), creds["version"])
	require.Empty(t, m.List("revocations"))
	require.Equal(t, user.Name, m.Read("rotate/gpu.team")["identity"])
	require.Equal(t, map[string]any{
		"type": "managed", "profile": "gpu.team", "refresh_interval": int64(300), "grace_period": int64(86400),
		"rotation_period": int64(90 * 86400), "scoped": true, "disable_automated_rotation": false, "token_ttl": int64(60 * 86400),
		"environment_roles": m.Read("roles/gpu.team")["environment_roles"],
	}, m.Read("roles/gpu.team"))
}

func TestManaged_RotateReplacesAndLaterDeletesTheServiceUser(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	secret, _ := m.Read("creds/ci")["token_secret"].(string)

	answer := m.Write("rotate/ci", nil).Data

	next := m.TokenID("ci")
	require.NotEqual(t, old, next)
	require.Equal(t, next, answer["token_id"])
	require.Equal(t, old, answer["previous_token_id"])
	require.Equal(t, "automatic", answer["method"])
	require.Equal(t, int64(2), answer["version"])
	require.True(t, m.Modal.Accepts(old, secret), "the old token stays valid for the grace period")
	require.Equal(t, []string{old}, m.List("revocations"))
	m.Minutes(24*60 - 1)
	require.True(t, m.Modal.Accepts(old, secret))

	m.Minutes(2)

	require.False(t, m.Modal.Accepts(old, secret))
	require.Empty(t, m.List("revocations"))
	require.Len(t, m.Modal.ServiceUsers(), 1)
	require.Contains(t, m.EventTypes(), "modal/revoke")
	require.NotContains(t, m.EventTypes(), "modal/revoke-manual")
	require.Contains(t, m.Logs.String(), "token revoked")
}

func TestManaged_UpdateSetsOnlyChangedRolesAndCreatesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci", map[string]any{"environment_roles": "main=contributor"})
	calls := len(m.Modal.Calls("EnvironmentRoleSet"))

	m.Write("roles/ci", map[string]any{"environment_roles": map[string]any{"main": "viewer", "staging": "viewer"}})

	require.Equal(t, id, m.TokenID("ci"))
	require.Equal(t, map[string]string{"main": "viewer", "staging": "viewer"}, m.ServiceUser(id).Roles)
	m.Write("roles/ci", map[string]any{"environment_roles": "main=viewer"})
	require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, m.ServiceUser(id).Roles)
	require.Len(t, m.Modal.Calls("EnvironmentRoleSet"), calls+3)
	m.Write("roles/ci", map[string]any{"refresh_interval": "1m"})
	require.Len(t, m.Modal.Calls("EnvironmentRoleSet"), calls+3, "unchanged roles are not set again")
}

func TestManaged_FailedEnvironmentRolesUpdateIsRolledBack(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci")

	text := m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{"environment_roles": "main=viewer,zoo=viewer"})

	require.Contains(t, text, "environment zoo does not exist: the workspace has main, staging")
	require.Contains(t, text, "keeps its old environment roles")
	require.Equal(t, "contributor", m.ServiceUser(id).Roles["main"])
}

func TestManaged_ScopedAndTokenTTLApplyAtTheNextRotation(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci")
	resp := m.Write("roles/ci", map[string]any{"scoped": false, "token_ttl": "200d"})
	require.Contains(t, strings.Join(resp.Warnings, "\n"), "scoped and token_ttl takes effect at the next rotation")
	require.True(t, m.ServiceUser(id).Scoped)
	m.Write("rotate/ci", nil)
	require.False(t, m.ServiceUser(m.TokenID("ci")).Scoped)
	require.Equal(t, "2026-09-17T12:00:00Z", m.Read("creds/ci")["expires_at"])
}

func TestManaged_LimitsApplyToWritesAndRotations(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"environment_roles": "main=contributor"})
	m.Write("config", map[string]any{"allowed_environments": "main,staging", "max_environment_role": "viewer"})
	for says, data := range map[string]map[string]any{
		"more than config's max_environment_role": {"type": "managed", "environment_roles": "main=contributor"},
		"not among config's allowed_environments": {"type": "managed", "environment_roles": "other=viewer"},
		"scoped=false exceeds config's allowed":   {"type": "managed", "environment_roles": "main=viewer", "scoped": false},
	} {
		require.Contains(t, m.Refused(logical.UpdateOperation, "roles/new", data), says)
	}
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", nil), "max_environment_role")
	m.Write("roles/ci", map[string]any{"environment_roles": "main=viewer"})
	m.Write("rotate/ci", nil)
}

func TestManaged_DeleteRemovesServiceUsersAfterAnOutage(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	m.Modal.SetOutage(true)

	resp := m.Remove("roles/ci", nil)

	require.Len(t, mounttest.TokensOf(resp), 2)
	require.Contains(t, mounttest.TokensOf(resp)[0], "works until 2026-03-02T12:00:00Z, then the engine revokes it")
	m.Tick()
	require.Len(t, m.List("revocations"), 2)
	m.Modal.SetOutage(false)
	m.Minutes(25 * 60)
	require.Empty(t, m.List("revocations"))
	require.Empty(t, m.Modal.ServiceUsers())
}

func TestStatic_ImportedServiceUserIsDeletedOnlyByForce(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", m.NewToken())
	old := m.Workspace.AddServiceUser("robot-1")
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(old), "type", "static"))
	answer := m.Write("rotate/ci", mounttest.Also(mounttest.TokenData(m.Workspace.AddServiceUser("robot-2")), "force", true, "grace_period", 0)).Data
	require.Equal(t, "manual", answer["method"])
	m.Minutes(24 * 60)
	require.True(t, m.Modal.Accepts(old.ID, old.Secret))
	m.Write("revocations/"+old.ID, map[string]any{"force": true})
	require.False(t, m.Modal.Accepts(old.ID, old.Secret))
	require.Empty(t, m.List("revocations"))
}

func TestRevocations_WithinTheGracePeriodNeedForce(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	require.Contains(t, m.Refused(logical.UpdateOperation, "revocations/"+old, nil), "revoke it now with: vault write modal/revocations/"+old+" force=true")
	resp, err := m.Handle(logical.DeleteOperation, "revocations/"+old, nil)
	require.ErrorIs(t, err, logical.ErrInvalidRequest)
	require.Contains(t, mounttest.ErrorText(resp), "forget it without proof with: vault delete modal/revocations/"+old+" force=true")
	require.True(t, m.Knows(old), "a refused delete changes nothing at Modal")
	require.Equal(t, true, m.Write("revocations/"+old, map[string]any{"force": true}).Data["revoked"])
	require.False(t, m.Knows(old))
}

func TestRevocations_UnfinishedCreationIsListedByServiceUserName(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	_, err := m.Handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.Modal.ClearFaults()
	names := m.List("revocations")
	require.Len(t, names, 1)
	require.Regexp(t, `^vault-2f9f1a7c-ci-`, names[0])
	require.Equal(t, "pending", m.Read("revocations/" + names[0])["state"])
	tooEarly := m.Write("revocations/"+names[0], nil).Data
	require.Equal(t, false, tooEarly["revoked"])
	require.Contains(t, tooEarly["last_error"], "may still be creating it")
	m.Clock.Advance(mounttest.UnfinishedAfter)
	require.Equal(t, true, m.Write("revocations/"+names[0], nil).Data["revoked"])
	require.Empty(t, m.List("revocations"))
}
