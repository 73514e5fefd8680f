// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// now is the word that ends tokens at once.
var now = map[string]any{"force": true}

func TestDelete_OfARoleInUseIsNoOutage(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	token := m.addManaged("ci", map[string]any{"grace_period": "2h"})

	resp := m.remove("roles/ci", nil)

	require.Len(t, resp.Warnings, 1, "one line a token")
	require.Contains(t, resp.Warnings[0], "token "+token+" (version 1): works until 2026-03-01T14:00:00Z, then the engine ends it")
	require.Equal(t, "grace period", m.read("revocations/" + token)["state"])
	m.minutes(119)
	require.Len(t, m.modal.ServiceUsers(), 1, "whoever read it last has the grace period of a rotation")
	m.minutes(2)
	require.Empty(t, m.modal.ServiceUsers())
	require.Empty(t, m.list("revocations"))
}

func TestDelete_WithForceEndsAllVersionsAtOnce(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	first := m.addManaged("ci")
	m.write("rotate/ci", nil)
	second := m.tokenID("ci")

	resp := m.remove("roles/ci", now)

	require.ElementsMatch(t, []string{"token " + first + ": ended, Modal refuses it", "token " + second + ": ended, Modal refuses it"}, resp.Warnings)
	require.Empty(t, m.modal.ServiceUsers())
	require.Empty(t, m.list("revocations"))
	require.Contains(t, m.eventTypes(), "modal/revoke")
}

func TestDelete_WithForceIsStoredBeforeModalIsAsked(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	first := m.addManaged("ci")
	m.write("rotate/ci", nil)
	m.modal.SetOutage(true)

	resp := m.remove("roles/ci", now)

	require.Len(t, resp.Warnings, 2)
	require.Contains(t, strings.Join(resp.Warnings, "\n"), "token "+first+" (version 1): not ended yet, the engine goes on trying; vault read modal/revocations/"+first)
	require.Equal(t, "retrying", m.read("revocations/" + first)["state"])
	m.restart()
	m.modal.SetOutage(false)
	m.minutes(10)
	require.Empty(t, m.modal.ServiceUsers(), "within the grace period, as an operator said")
}

func TestDelete_WithForceOfARoleThatIsGoneEndsWhatItLeft(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.remove("roles/ci", nil)
	require.Len(t, m.modal.ServiceUsers(), 1)
	m.remove("roles/ci", now)
	require.Empty(t, m.modal.ServiceUsers())
	require.Nil(t, m.remove("roles/ci", now))
}

func TestDelete_LeavesAStaticRolesTokenToTheOperatorForcedOrNot(t *testing.T) {
	t.Parallel()
	for _, data := range []map[string]any{nil, now} {
		m := newManagedMount(t)
		robot := m.workspace.AddServiceUser("robot")
		m.write("roles/ci", also(pairData(robot), "type", "static"))

		resp := m.remove("roles/ci", data)

		require.Len(t, resp.Warnings, 1)
		require.Contains(t, resp.Warnings[0], "token "+robot.ID+" (version 1): left to you, delete service user \"robot\"")
		require.Equal(t, "manual", m.read("revocations/" + robot.ID)["method"])
		m.minutes(26 * 60)
		require.Len(t, m.modal.ServiceUsers(), 1, "the engine did not make it")
	}
}

func TestDelete_OfManyTokensAnswersWithASummary(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci", map[string]any{"revoke_previous": false})
	for range 11 {
		m.clock.advance(time.Minute)
		m.write("rotate/ci", m.newToken())
	}

	resp := m.remove("roles/ci", nil)

	require.Equal(t, []string{"12 tokens of the role: 12 left to you; those that are left are in: vault list -detailed modal/revocations"}, resp.Warnings)
}

func TestDelete_OfAnUnreadableFlagIsRefused(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	require.Contains(t, m.refused(logical.DeleteOperation, "roles/ci", map[string]any{"force": "perhaps"}), "force: write true or false")
	require.NotEmpty(t, m.read("creds/ci"))
}
