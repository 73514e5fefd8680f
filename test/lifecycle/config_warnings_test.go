// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestConfig_WarnsAboutRolesBeyondItsLimits(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.AddManaged("viewer", map[string]any{"environment_roles": "main=viewer"})
	m.AddRole("static", map[string]any{"revoke_previous": false})

	warnings := m.Write("config", map[string]any{"max_environment_role": "viewer"}).Warnings

	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "can no longer rotate: ci; narrow each with: vault write modal/roles/<role> environment_roles=…")
	require.Empty(t, m.Write("config", map[string]any{"request_timeout": "20s"}).Warnings, "the warning comes once")
}

func TestConfig_WarnsAboutEveryRoleThatIsBrokenAfterTheWrite(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"environment_roles": "main=contributor,staging=contributor"})
	warned := func(data map[string]any) string { return strings.Join(m.Write("config", data).Warnings, "\n") }
	require.Contains(t, warned(map[string]any{"allowed_environments": "main"}), "can no longer rotate: ci;")
	require.Contains(t, warned(map[string]any{"allowed_environments": "staging"}), "can no longer rotate: ci;", "another limit of the same length")

	told := warned(map[string]any{"allowed_environments": "main,staging", "max_environment_role": "viewer"})

	require.Contains(t, told, "than config allows (allowed_environments (main, staging) and max_environment_role (viewer))")
	require.Contains(t, told, "can no longer rotate: ci;", "the new limit replaced the old limit")
	require.Empty(t, warned(map[string]any{"request_timeout": "20s"}), "the write changed no limit")
	require.Contains(t, warned(map[string]any{"allowed_environments": ""}), "can no longer rotate: ci;")
	require.Empty(t, warned(map[string]any{"max_environment_role": ""}))
}

func TestConfig_WarnsAboutRolesThatItsAdminTokenCannotManage(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=viewer"})
	m.Write("config", map[string]any{"remove_admin_token": true})

	other := mounttest.Also(mounttest.TokenData(m.Modal.AddWorkspace("globex").AddMember("eve").NewToken()), "force", true)
	told := strings.Join(m.Write("config", other).Warnings, "\n")

	require.Contains(t, told, "another workspace or server): ci;", "the role was broken before this write too")
	require.NotContains(t, told, "job", "a dynamic role uses the workspace of config")
}

func TestConfig_LoweredLimitWarnsAboutDynamicRolesAndTheirLeases(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t)
	m.Write("roles/idle", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
	m.Write("roles/fits", map[string]any{"type": "dynamic", "environment_roles": "main=viewer"})
	first := vaultLease(t, m, m.Must(logical.ReadOperation, "creds/job", nil))
	m.Must(logical.ReadOperation, "creds/job", nil)

	warnings := m.Write("config", map[string]any{"max_environment_role": "viewer"}).Warnings

	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0], "role idle asks for more than config allows (max_environment_role (viewer)): its reads are refused until you narrow the role with: vault write modal/roles/idle environment_roles=…")
	require.NotContains(t, warnings[0], "leases")
	require.Contains(t, warnings[1], "role job asks for more")
	require.Contains(t, warnings[1], "running leases that keep their rights and are not renewed until then: 2")
	require.Contains(t, warnings[1], "vault lease revoke -prefix modal/creds/job")
	require.Contains(t, m.Refused(logical.ReadOperation, "creds/job", nil), "is more than config's max_environment_role")
	resp, err := m.LeaseRequest(logical.RenewOperation, first)
	require.ErrorIs(t, err, logical.ErrInvalidRequest)
	require.Contains(t, mounttest.ErrorText(resp), "the lease is not renewed")

	require.Empty(t, m.Write("roles/job", map[string]any{"environment_roles": "main=viewer"}).Warnings)

	first.IssueTime = time.Now() // Vault computes the lease from the real time
	_, err = m.LeaseRequest(logical.RenewOperation, first)
	require.NoError(t, err)
	for _, user := range m.Modal.ServiceUsers() {
		require.Equal(t, "viewer", user.Roles["main"])
	}
}

func TestConfig_RemovedAdminTokenWarnsAboutUnreadableDynamicRoles(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t)
	told := strings.Join(m.Write("config", map[string]any{"remove_admin_token": true}).Warnings, "\n")
	require.Contains(t, told, "reads of these dynamic roles are refused")
	require.Contains(t, told, "(there is none): job;")
	require.Contains(t, m.Refused(logical.ReadOperation, "creds/job", nil), "config has no admin token")
}

func TestConfig_WarnsAboutRolesAndRevocationsWithoutAnAdminToken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(m *mounttest.Mount) []string
		why    string
	}{
		"no admin": {func(m *mounttest.Mount) []string {
			return m.Write("config", map[string]any{"remove_admin_token": true}).Warnings
		}, "there is none"},
		"deleted": {func(m *mounttest.Mount) []string { return m.Remove("config", nil).Warnings }, "there is none"},
		"another workspace": {func(m *mounttest.Mount) []string {
			return m.Write("config", mounttest.Also(mounttest.TokenData(m.Modal.AddWorkspace("globex").AddMember("eve").NewToken()), "force", true)).Warnings
		}, "another workspace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			m.AddManaged("ci")
			old := m.TokenID("ci")
			m.Write("rotate/ci", nil)
			m.AddRole("static")
			m.Write("rotate/static", m.NewToken())

			told := strings.Join(test.change(m), "\n")

			require.Contains(t, told, "because the admin token in config cannot manage them (")
			require.Contains(t, told, test.why)
			require.Contains(t, told, "): ci; bring an admin token of their workspace and server: vault write modal/config token_id=")
			require.Contains(t, told, "the engine can no longer revoke these tokens in the revocation queue: "+old+"; bring an admin token")
			require.NotContains(t, told, "stays valid", "Modal was not asked")
		})
	}
}

func TestConfig_WarningsNameTenAndCountTheRest(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	for i := range 12 {
		m.AddManaged(fmt.Sprintf("role-%02d", i))
	}
	warnings := m.Write("config", map[string]any{"max_environment_role": "viewer"}).Warnings
	require.Contains(t, warnings[0], "role-09 and 2 more")
	m.Write("config", map[string]any{"max_environment_role": ""})
	for i := range 12 {
		m.Write(fmt.Sprintf("roles/job-%02d", i), map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
	}
	warnings = m.Write("config", map[string]any{"max_environment_role": "viewer"}).Warnings
	require.Len(t, warnings, 12)
	require.Equal(t, "2 more dynamic roles also ask for more than config allows: job-10, job-11", warnings[11])
}

func TestConfig_PausedStopsTheWorkerButNotOperators(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "1h"})
	m.Write("rotate/ci", nil)
	m.Write("config", map[string]any{"paused": true, "verification_interval": "1h"})
	require.Equal(t, true, m.Read("config")["paused"])
	require.Equal(t, true, m.Read("status")["paused"])
	calls := len(m.Modal.Calls(""))

	m.Minutes(3 * 60)

	require.Len(t, m.Modal.Calls(""), calls, "rotations, revocations, and verifications of the role's and the admin token are due")
	require.Equal(t, int64(2), m.Read("creds/ci")["version"])
	require.Equal(t, true, m.Write("revocations/"+old, nil).Data["revoked"])
	m.Write("rotate/ci", nil)
	m.Write("config", map[string]any{"paused": ""})
	m.Minutes(2 * 60)
	require.Greater(t, m.Read("creds/ci")["version"], int64(3), "overdue work runs after the pause")
}

func TestConfig_WriteAnswersTheAdminIdentityAndTheNextStep(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	none := m.Write("config", map[string]any{"request_timeout": "20s"}).Data
	require.Contains(t, none["next_step"], "vault write modal/roles/personal type=static")
	require.Equal(t, "vault-2f9f1a7c-", none["service_user_prefix"])
	admin := m.NewToken()
	unverified := m.Write("config", mounttest.Also(admin, "verify", false)).Data
	require.Contains(t, unverified["next_step"], "vault write modal/config token_id="+mounttest.TextIn(admin, "token_id"))
	answer := m.Write("config", admin).Data
	require.Equal(t, admin["token_id"], answer["token_id"])
	require.Equal(t, "alice", answer["identity"])
	require.Equal(t, true, answer["manages_service_users"])
	require.Contains(t, answer["next_step"], "type=managed environment_roles=main=contributor")
	limited := m.Write("config", mounttest.TokenData(m.Workspace.AddServiceUser("robot"))).Data
	require.Contains(t, limited["limitation"], "service user")
	require.Contains(t, limited["next_step"], "owner or manager")
}

func TestRoles_WriteAnswersTheTokenIdentityAndTheNextStep(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	token := m.NewToken()
	static := m.Write("roles/personal", mounttest.Also(token, "type", "static")).Data
	require.Equal(t, token["token_id"], static["token_id"])
	require.Equal(t, "alice", static["identity"])
	require.Equal(t, int64(1), static["version"])
	require.Equal(t, "read the token with: vault read modal/creds/personal; bring the next token by 2026-05-30T12:00:00Z with: "+
		"vault write modal/rotate/personal token_id=… token_secret=-", static["next_step"])
	managed := m.Write("roles/ci", mounttest.Also(managedRole, "rotation_period", "30d")).Data
	require.Equal(t, "service_user", managed["identity_type"])
	require.Equal(t, "read the token with: vault read modal/creds/ci; the engine rotates the role at next_rotation", managed["next_step"])
	require.NotContains(t, managed, "token_secret")
	byHand := m.Write("roles/ci", map[string]any{"disable_automated_rotation": true}).Data
	require.Contains(t, byHand["next_step"], "vault write -f modal/rotate/ci")
}
