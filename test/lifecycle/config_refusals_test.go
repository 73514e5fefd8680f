// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// The tests in this file check when a write of config needs force=true, and when it is refused.

func TestConfig_AnotherWorkspaceOfTheSameNameNeedsForce(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Workspace.Rename("acme-inc")
	namesake := m.Modal.AddWorkspace("acme").AddMember("mallory")
	for _, path := range []string{"config", "config/rotate"} {
		require.Contains(t, m.Refused(logical.UpdateOperation, path, mounttest.TokenData(namesake.NewToken())), "force=true", path)
	}
	m.Write("config", m.NewToken())
	m.Write("config/rotate", m.NewToken())
}

func TestConfig_RefusalOfANewCACountsEntriesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"cred/ci", "role/ci", "revocation/"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			m, member, _, _ := secureMount(t)
			token := member.NewToken()
			m.Write("roles/ci", mounttest.Also(mounttest.TokenData(token), "type", "static"))
			if key == "revocation/" {
				m.Remove("roles/ci", nil)
				key += token.ID
			}
			m.WriteAsNewer(key)
			another := map[string]any{"ca_cert": modaltest.Start(t, modaltest.WithTLS()).CACert()}
			require.Contains(t, m.Refused(logical.UpdateOperation, "config", another), "1 stored token")
		})
	}
}

func TestConfig_ANewCANeedsNoForceForTheTokenThatTheWriteBrings(t *testing.T) {
	t.Parallel()
	m, member, _, _ := secureMount(t)
	admin := mounttest.TokenData(member.NewToken())
	m.Write("config", admin)
	both := mounttest.TextIn(m.Read("config"), "ca_cert") + modaltest.Start(t, modaltest.WithTLS()).CACert()
	m.Write("config", mounttest.Also(admin, "ca_cert", both))
	require.Equal(t, both, m.Read("config")["ca_cert"])
}

func TestConfig_ANewServerMustAcceptTheAdminTokenAlsoAfterAnUnverified(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", mounttest.Also(m.NewToken(), "verify", false))
	other, config := m.AnotherModal()
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", mounttest.Also(config, "verify", false)), "needs an admin token that the server accepts")
	require.Empty(t, other.Calls(""))
	m.Write("config", config)
}

func TestConfig_ReplacingAnUnverifiedAdminTokenByRotationNeedsForce(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", mounttest.Also(m.NewToken(), "verify", false))
	next := m.NewToken()
	require.Contains(t, m.Refused(logical.UpdateOperation, "config/rotate", next), "was never verified")
	m.Write("config/rotate", mounttest.Also(next, "force", true))
	require.Equal(t, next["token_id"], m.Read("config")["token_id"])
}

func TestConfig_AReplacedAdminTokenWorksForTheGracePeriodOfTheWrite(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"config", "config/rotate"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			old := mounttest.TextIn(m.Read("config"), "token_id")
			m.Write(path, mounttest.Also(m.NewToken(), "grace_period", "2h"))
			m.Minutes(118)
			require.True(t, m.Knows(old))
			m.Minutes(4)
			require.False(t, m.Knows(old))

			old = mounttest.TextIn(m.Read("config"), "token_id")
			m.Write(path, mounttest.Also(m.NewToken(), "grace_period", 0))
			m.Minutes(2)
			require.False(t, m.Knows(old), "a grace period of 0 ends it at once")
		})
	}
}

func TestConfig_WarnsOnlyAboutLeasesThatMayDoMoreThanItsLimits(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t, map[string]any{"environment_roles": "main=viewer"})
	m.Must(logical.ReadOperation, "creds/job", nil)
	m.Write("roles/job", map[string]any{"environment_roles": "main=contributor"})

	told := m.WarningsOf("config", map[string]any{"max_environment_role": "viewer"})

	require.Contains(t, told, "role job asks for more than config allows")
	require.NotContains(t, told, "running leases", "the lease has the rights of its time, which are within the limit")
}

func TestConfig_WarnsAboutNoRevocationThatWasNeverTheEngines(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	robot := m.Workspace.AddServiceUser("robot")
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(robot), "type", "static"))
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "force", true))
	require.Equal(t, "manual", m.Revocation(robot.ID, "method"))
	require.NotContains(t, m.WarningsOf("config", map[string]any{"remove_admin_token": true}), robot.ID)
}

func TestConfig_ARolesTokenDoesNotDecideTheWorkspaceOfTheAdminToken(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("roles/theirs", mounttest.Also(mounttest.TokenData(m.ForeignMember().NewToken()), "type", "static"))
	m.Write("config", m.NewToken())
	require.Equal(t, "acme", m.StoredWorkspace()["name"])
}

func TestConfig_APinOfAnotherNameForgetsTheWorkspaceOfThePinBefore(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", map[string]any{"pinned_workspace": "acme"})
	m.AddRole("ci")
	eve := m.ForeignMember()

	m.Write("config", mounttest.Also(mounttest.TokenData(eve.NewToken()), "pinned_workspace", "globex"))

	require.Contains(t, m.Refused(logical.UpdateOperation, "config", map[string]any{"pinned_workspace": "acme"}), `in workspace "globex"`)
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", mounttest.Also(m.NewToken(), "force", true)), `in workspace "acme"`)
	require.Equal(t, m.Modal.Workspace("globex").ID(), m.Read("config")["pinned_workspace_id"])
}

func TestConfig_ThePinCoversAnUnverifiedTokenThatIsBroughtAgain(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := mounttest.Also(mounttest.TokenData(m.ForeignMember().NewToken()), "type", "static")
	m.Write("roles/ci", mounttest.Also(token, "verify", false))
	m.Write("config", map[string]any{"pinned_workspace": "acme"})
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", token), `in workspace "globex"`)
	require.Equal(t, false, m.Read("rotate/ci")["verified"])
}

func TestConfig_AnAdminTokenIsNotStoredAsLimitedWhileModalThrottles(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", map[string]any{"request_timeout": "1s"})
	for name, fault := range map[string]modaltest.Fault{
		"throttled": {Code: codes.ResourceExhausted, RetryAfter: time.Minute, Times: -1}, "down": {Code: codes.Unavailable, Times: -1},
	} {
		m.Modal.Inject("ServiceUserList", fault)
		before := m.Storage.Snapshot(t)
		status, text := m.Failed(logical.UpdateOperation, "config", m.NewToken())
		require.Equal(t, http.StatusBadGateway, status, name)
		require.Contains(t, text, "nothing was changed", name)
		m.UnchangedSince(before)
		m.Modal.ClearFaults()
	}
}

func TestConfig_TheWorkspaceIsRememberedAlsoIfStorageFailedMeanwhile(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Storage.Plan(mounttest.Cut{At: 2}) // config is stored, the workspace is not
	require.Error(t, m.Try(logical.UpdateOperation, "config", m.NewToken()))
	require.True(t, m.Storage.WasCut())
	m.Storage.Heal()
	require.Equal(t, "acme", m.Read("config")["workspace"])

	m.Write("config", map[string]any{"remove_admin_token": true})

	require.Equal(t, "acme", m.StoredWorkspace()["name"])
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", mounttest.TokenData(m.ForeignMember().NewToken())), "force=true")
}

func TestConfig_WarnsAlsoAboutRolesThatRotateOnlyOnRequest(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("manual", map[string]any{"disable_automated_rotation": true})
	require.Contains(t, m.WarningsOf("config", map[string]any{"max_environment_role": "viewer"}), "can no longer rotate: manual;")
	require.Contains(t, m.WarningsOf("config", map[string]any{"remove_admin_token": true}), "cannot manage them (there is none): manual;")
}
