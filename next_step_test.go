// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestNextStep_OfARevocationHasTheWholeCommand(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	step := func(id string) string { return textIn(m.read("revocations/"+id), "next_step") }
	managed := m.addManaged("ci")
	m.write("rotate/ci", nil)
	require.Contains(t, step(managed), "; to revoke the token now: vault write modal/revocations/"+managed+" force=true")
	m.modal.Inject("ServiceUserDelete", deleteFails)
	m.clock.advance(25 * time.Hour)
	m.tick()
	require.Contains(t, step(managed), "; to try now: vault write -f modal/revocations/"+managed)

	member := m.addRole("work")
	m.write("rotate/work", m.newToken())
	require.Contains(t, step(member), "nothing to do: the engine will have token "+member+" delete itself after ")
	require.Contains(t, step(member), "; to revoke the token now: vault write modal/revocations/"+member+" force=true")
	static := m.addRole("personal", map[string]any{"revoke_previous": false})
	m.write("rotate/personal", m.newToken())
	require.Contains(t, step(static), "modal workspace member-tokens delete "+static+", but not before the grace period ends at ")
	require.Contains(t, step(static), "; then let the engine check: vault write -f modal/revocations/"+static)
	robot := m.workspace.AddServiceUser("robot")
	m.write("roles/robot", also(tokenData(robot), "type", "static"))
	m.remove("roles/robot", nil)
	require.Contains(t, step(robot.ID), "modal workspace service-users delete robot, but not before")
}

func TestConfig_ExpiringAdminTokenNamesTheCommandToReplaceIt(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", m.newToken(modaltest.ExpiresAt(start.Add(day))))
	for range 2 { // before and after the expiry
		resp, err := m.handle(logical.ReadOperation, "config", nil)
		require.NoError(t, err)
		require.Len(t, resp.Warnings, 1)
		require.Contains(t, resp.Warnings[0], ": vault write modal/config token_id=… token_secret=-")
		m.clock.advance(2 * day)
	}
}

func TestNextStep_SaysThatTheEngineIsPaused(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	const paused = "the engine is paused, so it does nothing by itself until: vault write modal/config paused=false"
	m.addManaged("ci")
	require.Contains(t, m.write("config", map[string]any{"paused": true}).Data["next_step"], paused)
	rotated := m.write("rotate/ci", nil).Data
	require.Contains(t, rotated["next_step"], paused)
	require.Contains(t, m.revocation(textIn(rotated, "previous_token_id"), "next_step"), paused)
	require.Contains(t, m.write("roles/ci", map[string]any{"grace_period": "2h"}).Data["next_step"], paused)
	require.Equal(t, true, m.read("rotate/ci")["paused"])
	m.modal.DeleteToken(m.tokenID("ci"))
	require.Contains(t, m.write("verify/ci", nil).Data["next_step"], paused)
	require.Contains(t, m.remove("roles/ci", nil).Data["next_step"], paused)
	m.write("config", map[string]any{"paused": false})
}

func TestNextStep_PromisesNoDeletionWhileTheMountIsOutOfSync(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", nil)
	_, err := m.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	m.minutes(12)
	require.Equal(t, true, m.read("status")["out_of_sync"])
	require.Contains(t, m.revocation(old, "next_step"), "the engine deletes nothing until an operator decides: vault list -detailed modal/orphans")
}
