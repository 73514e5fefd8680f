// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// newManagedMount returns a mount with an admin token. The test fails if Modal ends with a service user that neither a
// role nor the revocation queue tracks.
func newManagedMount(t *testing.T) *mount {
	t.Helper()
	m := newMount(t)
	m.workspace.AddEnvironment("staging")
	m.write("config", m.newToken())
	m.modal.FailOnOrphans(t, m.trackedServiceUsers)
	return m
}

// trackedServiceUsers returns the names of the service users in storage.
func (m *mount) trackedServiceUsers() []string {
	var names []string
	ctx := context.WithoutCancel(m.t.Context())
	for _, prefix := range []string{"cred/", "revocation/"} {
		keys, err := m.storage.InmemStorage.List(ctx, prefix)
		require.NoError(m.t, err)
		for _, key := range keys {
			raw, err := m.storage.InmemStorage.Get(ctx, prefix+key)
			require.NoError(m.t, err)
			var stored struct {
				Entry struct {
					Identity string `json:"identity"`
				} `json:"entry"`
			}
			require.NoError(m.t, json.Unmarshal(raw.Value, &stored))
			names = append(names, stored.Entry.Identity)
		}
	}
	return names
}

// addManaged creates a managed role and returns the ID of its first token.
func (m *mount) addManaged(name string, more ...map[string]any) string {
	m.t.Helper()
	data := map[string]any{"type": "managed", "environment_roles": "main=contributor"}
	for _, extra := range more {
		maps.Copy(data, extra)
	}
	m.write("roles/"+name, data)
	return m.tokenID(name)
}

// tokenID returns the ID of a role's current token.
func (m *mount) tokenID(name string) string {
	m.t.Helper()
	id, _ := m.read("creds/" + name)["token_id"].(string)
	return id
}

// serviceUser returns the service user that owns a token. The test fails if Modal has no such user.
func (m *mount) serviceUser(tokenID string) modaltest.ServiceUserInfo {
	m.t.Helper()
	for _, user := range m.modal.ServiceUsers() {
		if user.TokenID == tokenID {
			return user
		}
	}
	m.t.Fatalf("no service user owns token %s", tokenID)
	return modaltest.ServiceUserInfo{}
}

// minutes advances the clock minute by minute, with a tick after each.
func (m *mount) minutes(count int) {
	m.t.Helper()
	for range count {
		m.clock.advance(time.Minute)
		m.tick()
	}
}

func TestManaged_CreateMakesAScopedServiceUserWithExactlyItsRoles(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)

	id := m.addManaged("gpu.team", map[string]any{"environment_roles": "main=contributor,staging=viewer", "token_ttl": "60d"})

	user := m.serviceUser(id)
	require.Regexp(t, `^vault-2f9f1a7c-gpu-team-[a-z0-9]{8}$`, user.Name)
	require.True(t, user.Scoped)
	require.Equal(t, map[string]string{"main": "contributor", "staging": "viewer"}, user.Roles)
	creds := m.read("creds/gpu.team")
	require.True(t, m.modal.Accepts(id, creds["token_secret"].(string)))
	require.Equal(t, "2026-04-30T12:00:00Z", creds["expires_at"])
	require.Equal(t, "acme", creds["workspace"])
	require.Equal(t, int64(1), creds["version"])
	require.Empty(t, m.list("revocations"))
	require.Equal(t, user.Name, m.read("rotate/gpu.team")["identity"])
	require.Equal(t, map[string]any{
		"type": "managed", "profile": "gpu.team", "refresh_interval": int64(300), "grace_period": int64(86400),
		"rotation_period": int64(90 * 86400), "scoped": true, "disable_automated_rotation": false, "token_ttl": int64(60 * 86400),
		"environment_roles": m.read("roles/gpu.team")["environment_roles"],
	}, m.read("roles/gpu.team"))
}

func TestManaged_RotateReplacesAndLaterDeletesTheServiceUser(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	secret, _ := m.read("creds/ci")["token_secret"].(string)

	answer := m.write("rotate/ci", nil).Data

	next := m.tokenID("ci")
	require.NotEqual(t, old, next)
	require.Equal(t, next, answer["token_id"])
	require.Equal(t, old, answer["previous_token_id"])
	require.Equal(t, "automatic", answer["method"])
	require.Equal(t, int64(2), answer["version"])
	require.True(t, m.modal.Accepts(old, secret), "the old token stays valid for the grace period")
	require.Equal(t, []string{old}, m.list("revocations"))
	m.minutes(24*60 - 1)
	require.True(t, m.modal.Accepts(old, secret))

	m.minutes(2)

	require.False(t, m.modal.Accepts(old, secret))
	require.Empty(t, m.list("revocations"))
	require.Len(t, m.modal.ServiceUsers(), 1)
	require.Contains(t, m.eventTypes(), "modal/revoke")
	require.NotContains(t, m.eventTypes(), "modal/revoke-manual")
	require.Contains(t, m.logs.String(), "token revoked")
}

func TestManaged_UpdateSetsOnlyChangedRolesAndCreatesNothing(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	id := m.addManaged("ci", map[string]any{"environment_roles": "main=contributor"})
	calls := len(m.modal.Calls("EnvironmentRoleSet"))

	m.write("roles/ci", map[string]any{"environment_roles": map[string]any{"main": "viewer", "staging": "viewer"}})

	require.Equal(t, id, m.tokenID("ci"))
	require.Equal(t, map[string]string{"main": "viewer", "staging": "viewer"}, m.serviceUser(id).Roles)
	m.write("roles/ci", map[string]any{"environment_roles": "main=viewer"})
	require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, m.serviceUser(id).Roles)
	require.Len(t, m.modal.Calls("EnvironmentRoleSet"), calls+3)
	m.write("roles/ci", map[string]any{"refresh_interval": "1m"})
	require.Len(t, m.modal.Calls("EnvironmentRoleSet"), calls+3, "unchanged roles are not set again")
}

func TestManaged_FailedEnvironmentRolesUpdateIsRolledBack(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	id := m.addManaged("ci")

	text := m.refused(logical.UpdateOperation, "roles/ci", map[string]any{"environment_roles": "main=viewer,zoo=viewer"})

	require.Contains(t, text, "environment zoo does not exist: the workspace has main, staging")
	require.Contains(t, text, "keeps its old environment roles")
	require.Equal(t, "contributor", m.serviceUser(id).Roles["main"])
}

func TestManaged_ScopedAndTokenTTLApplyAtTheNextRotation(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	id := m.addManaged("ci")
	resp := m.write("roles/ci", map[string]any{"scoped": false, "token_ttl": "200d"})
	require.Contains(t, strings.Join(resp.Warnings, "\n"), "scoped and token_ttl takes effect at the next rotation")
	require.True(t, m.serviceUser(id).Scoped)
	m.write("rotate/ci", nil)
	require.False(t, m.serviceUser(m.tokenID("ci")).Scoped)
	require.Equal(t, "2026-09-17T12:00:00Z", m.read("creds/ci")["expires_at"])
}

func TestManaged_LimitsApplyToWritesAndRotations(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"environment_roles": "main=contributor"})
	m.write("config", map[string]any{"allowed_environments": "main,staging", "max_environment_role": "viewer"})
	for says, data := range map[string]map[string]any{
		"more than config's max_environment_role": {"type": "managed", "environment_roles": "main=contributor"},
		"not among config's allowed_environments": {"type": "managed", "environment_roles": "other=viewer"},
		"scoped=false exceeds config's allowed":   {"type": "managed", "environment_roles": "main=viewer", "scoped": false},
	} {
		require.Contains(t, m.refused(logical.UpdateOperation, "roles/new", data), says)
	}
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", nil), "max_environment_role")
	m.write("roles/ci", map[string]any{"environment_roles": "main=viewer"})
	m.write("rotate/ci", nil)
}

func TestManaged_DeleteRemovesServiceUsersAfterAnOutage(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.write("rotate/ci", nil)
	m.modal.SetOutage(true)

	resp := m.remove("roles/ci", nil)

	require.Len(t, tokensOf(resp), 2)
	require.Contains(t, tokensOf(resp)[0], "works until 2026-03-02T12:00:00Z, then the engine revokes it")
	m.tick()
	require.Len(t, m.list("revocations"), 2)
	m.modal.SetOutage(false)
	m.minutes(25 * 60)
	require.Empty(t, m.list("revocations"))
	require.Empty(t, m.modal.ServiceUsers())
}

func TestStatic_ImportedServiceUserIsDeletedOnlyByForce(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", m.newToken())
	old := m.workspace.AddServiceUser("robot-1")
	m.write("roles/ci", also(tokenData(old), "type", "static"))
	answer := m.write("rotate/ci", also(tokenData(m.workspace.AddServiceUser("robot-2")), "force", true, "grace_period", 0)).Data
	require.Equal(t, "manual", answer["method"])
	m.minutes(24 * 60)
	require.True(t, m.modal.Accepts(old.ID, old.Secret))
	m.write("revocations/"+old.ID, map[string]any{"force": true})
	require.False(t, m.modal.Accepts(old.ID, old.Secret))
	require.Empty(t, m.list("revocations"))
}

func TestRevocations_WithinTheGracePeriodNeedForce(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", nil)
	require.Contains(t, m.refused(logical.UpdateOperation, "revocations/"+old, nil), "revoke it now with: vault write modal/revocations/"+old+" force=true")
	resp, err := m.handle(logical.DeleteOperation, "revocations/"+old, nil)
	require.ErrorIs(t, err, logical.ErrInvalidRequest)
	require.Contains(t, errorText(resp), "forget it without proof with: vault delete modal/revocations/"+old+" force=true")
	require.True(t, m.knows(old), "a refused delete changes nothing at Modal")
	require.Equal(t, true, m.write("revocations/"+old, map[string]any{"force": true}).Data["revoked"])
	require.False(t, m.knows(old))
}

func TestRevocations_UnfinishedCreationIsListedByServiceUserName(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	_, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.modal.ClearFaults()
	names := m.list("revocations")
	require.Len(t, names, 1)
	require.Regexp(t, `^vault-2f9f1a7c-ci-`, names[0])
	require.Equal(t, "pending", m.read("revocations/" + names[0])["state"])
	tooEarly := m.write("revocations/"+names[0], nil).Data
	require.Equal(t, false, tooEarly["revoked"])
	require.Contains(t, tooEarly["last_error"], "may still be creating it")
	m.clock.advance(unfinishedAfter)
	require.Equal(t, true, m.write("revocations/"+names[0], nil).Data["revoked"])
	require.Empty(t, m.list("revocations"))
}
