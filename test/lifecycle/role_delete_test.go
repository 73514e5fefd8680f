// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// withForce is a request that revokes tokens at once.
var withForce = map[string]any{"force": true}

func TestDelete_KeepsTheTokenForItsGracePeriod(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	token := m.AddManaged("ci", map[string]any{"grace_period": "2h"})

	resp := m.Remove("roles/ci", nil)

	require.Equal(t, []string{"token " + token + " (version 1): works until 2026-03-01T14:00:00Z, then the engine revokes it; " +
		"to revoke it now: vault write modal/revocations/" + token + " force=true"}, mounttest.TokensOf(resp), "a line for each token")
	require.Equal(t, int64(0), resp.Data["revoked"])
	require.Equal(t, int64(1), resp.Data["left"])
	require.Equal(t, "nothing to do: the engine revokes the remaining tokens, the last one after 2026-03-01T14:00:00Z; "+
		"to revoke all now: vault delete modal/roles/ci force=true", resp.Data["next_step"])
	require.Equal(t, "grace period", m.Read("revocations/" + token)["state"])
	m.Minutes(119)
	require.Len(t, m.Modal.ServiceUsers(), 1, "consumers keep the token for its grace period")
	m.Minutes(2)
	require.Empty(t, m.Modal.ServiceUsers())
	require.Empty(t, m.List("revocations"))
}

func TestDelete_WithForceRevokesAllVersionsAtOnce(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	first := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	second := m.TokenID("ci")

	resp := m.Remove("roles/ci", withForce)

	require.Equal(t, map[string]any{
		"tokens":  []string{"token " + second + ": revoked, Modal rejects it", "token " + first + ": revoked, Modal rejects it"},
		"revoked": int64(2), "left": int64(0), "next_step": "nothing to do: no token of the role is left",
	}, resp.Data)
	require.Empty(t, resp.Warnings, "success is no warning")
	require.Empty(t, m.Modal.ServiceUsers())
	require.Empty(t, m.List("revocations"))
	require.Contains(t, m.EventTypes(), "modal/revoke")
}

func TestDelete_ForceIsStoredBeforeModalIsCalled(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	first := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	m.Modal.SetOutage(true)

	resp := m.Remove("roles/ci", withForce)

	require.Len(t, mounttest.TokensOf(resp), 2)
	require.Contains(t, strings.Join(mounttest.TokensOf(resp), "\n"), "token "+first+" (version 1): not revoked yet, the engine keeps trying; see last_error with: vault read modal/revocations/"+first)
	require.Equal(t, int64(2), resp.Data["left"])
	require.Contains(t, resp.Data["next_step"], "nothing to do: the engine revokes the remaining tokens; to list them: vault list -detailed modal/revocations")
	require.Equal(t, "retrying", m.Read("revocations/" + first)["state"])
	m.Restart()
	m.Modal.SetOutage(false)
	m.Minutes(10)
	require.Empty(t, m.Modal.ServiceUsers(), "force revokes within the grace period")
}

func TestDelete_WithForceTriesAgainWhatModalDidNotDelete(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Write("rotate/ci", nil)
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=viewer", "ttl": "1h", "max_ttl": "1h"})
	m.Must(logical.ReadOperation, "creds/job", nil)
	m.Modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
	m.Minutes(8 * 60)
	require.Len(t, m.List("revocations"), 2)
	for _, id := range m.List("revocations") {
		require.Equal(t, "retrying", m.Revocation(id, "state"))
	}
	m.Modal.ClearFaults()

	for _, role := range []string{"ci", "job"} {
		require.Equal(t, int64(0), m.Remove("roles/"+role, withForce).Data["left"], role)
	}

	require.Empty(t, m.Modal.ServiceUsers())
	require.Empty(t, m.List("revocations"))
}

func TestDelete_WithForceRevokesTokensLeftByADeletedRole(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Remove("roles/ci", nil)
	require.Len(t, m.Modal.ServiceUsers(), 1)
	require.Equal(t, int64(1), m.Remove("roles/ci", withForce).Data["revoked"])
	require.Empty(t, m.Modal.ServiceUsers())
	require.Nil(t, m.Remove("roles/ci", withForce), "204, as Vault answers for every missing object")
	require.Nil(t, m.Remove("roles/ci", nil))
}

func TestDelete_WhilePausedSaysThatNothingIsRevoked(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Write("config", map[string]any{"paused": true})
	require.Contains(t, m.Remove("roles/ci", nil).Data["next_step"],
		"; the engine is paused, so it does nothing by itself until: vault write modal/config paused=false")
}

func TestDelete_IgnoresTokensOfAnEarlierRoleOfTheSameName(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	earlier := m.AddManaged("ci")
	m.Remove("roles/ci", nil)
	m.AddManaged("ci")
	resp := m.Remove("roles/ci", withForce)
	require.Len(t, mounttest.TokensOf(resp), 1)
	require.NotContains(t, mounttest.TokensOf(resp)[0], earlier)
	require.True(t, m.Knows(earlier), "the earlier token keeps its grace period")
	require.Equal(t, int64(1), m.Remove("roles/ci", withForce).Data["revoked"], "no role has the name any more")
}

func TestDelete_OfARoleWithoutATokenSaysThatNothingIsLeft(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("roles/waiting", map[string]any{"type": "static"})
	require.Equal(t, map[string]any{"revoked": int64(0), "left": int64(0), "next_step": "nothing to do: no token of the role is left"},
		m.Remove("roles/waiting", nil).Data)
}

func TestDelete_LeavesAStaticTokenToTheOperatorEvenWithForce(t *testing.T) {
	t.Parallel()
	for _, data := range []map[string]any{nil, withForce} {
		m := mounttest.NewManaged(t)
		robot := m.Workspace.AddServiceUser("robot")
		m.Write("roles/ci", mounttest.Also(mounttest.TokenData(robot), "type", "static"))

		resp := m.Remove("roles/ci", data)

		require.Len(t, mounttest.TokensOf(resp), 1)
		require.Contains(t, mounttest.TokensOf(resp)[0], "token "+robot.ID+" (version 1): the engine does not revoke it, so delete service user \"robot\"")
		require.Contains(t, mounttest.TokensOf(resp)[0], "; or let the engine revoke it: vault write modal/revocations/"+robot.ID+" force=true")
		require.Equal(t, "delete the tokens that the engine does not revoke, as their lines say", resp.Data["next_step"])
		require.Equal(t, "manual", m.Read("revocations/" + robot.ID)["method"])
		m.Minutes(26 * 60)
		require.Len(t, m.Modal.ServiceUsers(), 1, "the engine did not create the service user")
		require.Equal(t, true, m.Write("revocations/"+robot.ID, withForce).Data["revoked"], "as the line says")
	}
}

func TestDelete_ListsAHundredTokensAndCountsTheRest(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci", map[string]any{"revoke_previous": false})
	for range 101 {
		m.Clock.Advance(time.Minute)
		m.Write("rotate/ci", m.NewToken())
	}

	resp := m.Remove("roles/ci", nil)

	require.Len(t, mounttest.TokensOf(resp), 101)
	require.Equal(t, "and 2 more: vault list -detailed modal/revocations", mounttest.TokensOf(resp)[100])
	require.Equal(t, int64(102), resp.Data["left"])
}

func TestDelete_InvalidForceFlagIsRefused(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	require.Contains(t, m.Refused(logical.DeleteOperation, "roles/ci", map[string]any{"force": "perhaps"}), "force: write true or false")
	require.NotEmpty(t, m.Read("creds/ci"))
}
