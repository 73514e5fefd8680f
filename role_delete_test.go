// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// withForce is a request that revokes tokens at once.
var withForce = map[string]any{"force": true}

// tokensOf returns the lines of a delete's answer, nil if the answer has warnings. A delete gives no warnings.
func tokensOf(resp *logical.Response) []string {
	if resp == nil || len(resp.Warnings) > 0 {
		return nil
	}
	lines, _ := resp.Data["tokens"].([]string)
	return lines
}

func TestDelete_KeepsTheTokenForItsGracePeriod(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	token := m.addManaged("ci", map[string]any{"grace_period": "2h"})

	resp := m.remove("roles/ci", nil)

	require.Equal(t, []string{"token " + token + " (version 1): works until 2026-03-01T14:00:00Z, then the engine revokes it; " +
		"to revoke it now: vault write modal/revocations/" + token + " force=true"}, tokensOf(resp), "a line for each token")
	require.Equal(t, int64(0), resp.Data["revoked"])
	require.Equal(t, int64(1), resp.Data["left"])
	require.Equal(t, "nothing to do: the engine revokes the remaining tokens, the last one after 2026-03-01T14:00:00Z; "+
		"to revoke all now: vault delete modal/roles/ci force=true", resp.Data["next_step"])
	require.Equal(t, "grace period", m.read("revocations/" + token)["state"])
	m.minutes(119)
	require.Len(t, m.modal.ServiceUsers(), 1, "consumers keep the token for its grace period")
	m.minutes(2)
	require.Empty(t, m.modal.ServiceUsers())
	require.Empty(t, m.list("revocations"))
}

func TestDelete_WithForceRevokesAllVersionsAtOnce(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	first := m.addManaged("ci")
	m.write("rotate/ci", nil)
	second := m.tokenID("ci")

	resp := m.remove("roles/ci", withForce)

	require.Equal(t, map[string]any{
		"tokens":  []string{"token " + second + ": revoked, Modal rejects it", "token " + first + ": revoked, Modal rejects it"},
		"revoked": int64(2), "left": int64(0), "next_step": "nothing to do: no token of the role is left",
	}, resp.Data)
	require.Empty(t, resp.Warnings, "success is no warning")
	require.Empty(t, m.modal.ServiceUsers())
	require.Empty(t, m.list("revocations"))
	require.Contains(t, m.eventTypes(), "modal/revoke")
}

func TestDelete_ForceIsStoredBeforeModalIsCalled(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	first := m.addManaged("ci")
	m.write("rotate/ci", nil)
	m.modal.SetOutage(true)

	resp := m.remove("roles/ci", withForce)

	require.Len(t, tokensOf(resp), 2)
	require.Contains(t, strings.Join(tokensOf(resp), "\n"), "token "+first+" (version 1): not revoked yet, the engine keeps trying; see last_error with: vault read modal/revocations/"+first)
	require.Equal(t, int64(2), resp.Data["left"])
	require.Contains(t, resp.Data["next_step"], "nothing to do: the engine revokes the remaining tokens; to list them: vault list -detailed modal/revocations")
	require.Equal(t, "retrying", m.read("revocations/" + first)["state"])
	m.restart()
	m.modal.SetOutage(false)
	m.minutes(10)
	require.Empty(t, m.modal.ServiceUsers(), "force revokes within the grace period")
}

func TestDelete_WithForceRevokesTokensLeftByADeletedRole(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.remove("roles/ci", nil)
	require.Len(t, m.modal.ServiceUsers(), 1)
	require.Equal(t, int64(1), m.remove("roles/ci", withForce).Data["revoked"])
	require.Empty(t, m.modal.ServiceUsers())
	require.Nil(t, m.remove("roles/ci", withForce), "204, as Vault answers for every missing object")
	require.Nil(t, m.remove("roles/ci", nil))
}

func TestDelete_WhilePausedSaysThatNothingIsRevoked(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.write("config", map[string]any{"paused": true})
	require.Contains(t, m.remove("roles/ci", nil).Data["next_step"],
		"; the engine is paused, so it does nothing by itself until: vault write modal/config paused=false")
}

func TestDelete_IgnoresTokensOfAnEarlierRoleOfTheSameName(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	earlier := m.addManaged("ci")
	m.remove("roles/ci", nil)
	m.addManaged("ci")
	resp := m.remove("roles/ci", withForce)
	require.Len(t, tokensOf(resp), 1)
	require.NotContains(t, tokensOf(resp)[0], earlier)
	require.True(t, m.knows(earlier), "the earlier token keeps its grace period")
	require.Equal(t, int64(1), m.remove("roles/ci", withForce).Data["revoked"], "no role has the name any more")
}

func TestDelete_OfARoleWithoutATokenSaysThatNothingIsLeft(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/waiting", map[string]any{"type": "static"})
	require.Equal(t, map[string]any{"revoked": int64(0), "left": int64(0), "next_step": "nothing to do: no token of the role is left"},
		m.remove("roles/waiting", nil).Data)
}

func TestDelete_LeavesAStaticTokenToTheOperatorEvenWithForce(t *testing.T) {
	t.Parallel()
	for _, data := range []map[string]any{nil, withForce} {
		m := newManagedMount(t)
		robot := m.workspace.AddServiceUser("robot")
		m.write("roles/ci", also(tokenData(robot), "type", "static"))

		resp := m.remove("roles/ci", data)

		require.Len(t, tokensOf(resp), 1)
		require.Contains(t, tokensOf(resp)[0], "token "+robot.ID+" (version 1): the engine does not revoke it, so delete service user \"robot\"")
		require.Contains(t, tokensOf(resp)[0], "; or let the engine revoke it: vault write modal/revocations/"+robot.ID+" force=true")
		require.Equal(t, "delete the tokens that the engine does not revoke, as their lines say", resp.Data["next_step"])
		require.Equal(t, "manual", m.read("revocations/" + robot.ID)["method"])
		m.minutes(26 * 60)
		require.Len(t, m.modal.ServiceUsers(), 1, "the engine did not create the service user")
		require.Equal(t, true, m.write("revocations/"+robot.ID, withForce).Data["revoked"], "as the line says")
	}
}

func TestDelete_ListsAHundredTokensAndCountsTheRest(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci", map[string]any{"revoke_previous": false})
	for range 101 {
		m.clock.advance(time.Minute)
		m.write("rotate/ci", m.newToken())
	}

	resp := m.remove("roles/ci", nil)

	require.Len(t, tokensOf(resp), 101)
	require.Equal(t, "and 2 more: vault list -detailed modal/revocations", tokensOf(resp)[100])
	require.Equal(t, int64(102), resp.Data["left"])
}

func TestDelete_InvalidForceFlagIsRefused(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	require.Contains(t, m.refused(logical.DeleteOperation, "roles/ci", map[string]any{"force": "perhaps"}), "force: write true or false")
	require.NotEmpty(t, m.read("creds/ci"))
}
