// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestNextStep_OfARevocationHasTheWholeCommand(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	step := func(id string) string { return mounttest.TextIn(m.Read("revocations/"+id), "next_step") }
	managed := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	require.Contains(t, step(managed), "; to revoke the token now: vault write modal/revocations/"+managed+" force=true")
	m.Modal.Inject("ServiceUserDelete", deleteFails)
	m.Clock.Advance(25 * time.Hour)
	m.Tick()
	require.Contains(t, step(managed), "; to try now: vault write -f modal/revocations/"+managed)

	member := m.AddRole("work")
	m.Write("rotate/work", m.NewToken())
	require.Contains(t, step(member), "nothing to do: the engine will have token "+member+" delete itself after ")
	require.Contains(t, step(member), "; to revoke the token now: vault write modal/revocations/"+member+" force=true")
	static := m.AddRole("personal", map[string]any{"revoke_previous": false})
	m.Write("rotate/personal", m.NewToken())
	require.Contains(t, step(static), "modal workspace member-tokens delete "+static+", but not before the grace period ends at ")
	require.Contains(t, step(static), "; then let the engine check: vault write -f modal/revocations/"+static)
	robot := m.Workspace.AddServiceUser("robot")
	m.Write("roles/robot", mounttest.Also(mounttest.TokenData(robot), "type", "static"))
	m.Remove("roles/robot", nil)
	require.Contains(t, step(robot.ID), "modal workspace service-users delete robot, but not before")
}

func TestNextStep_BeginsWithWhatToDo(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	begins := func(begin string, resp map[string]any) {
		t.Helper()
		require.Regexp(t, "^"+begin, resp["next_step"])
	}
	begins("create a static role, ", m.Write("config", map[string]any{"request_timeout": "20s"}).Data)
	begins("write another admin token, ", m.Write("config", mounttest.TokenData(m.Workspace.AddServiceUser("robot"))).Data)
	begins("give the role its first token: ", m.Write("roles/empty", map[string]any{"type": "static"}).Data)
	begins("open url in a browser", m.Write("rotate/empty/approval", nil).Data)
	begins("ask the person who has the url to approve by ", m.Read("rotate/empty/approval"))
	begins("delete token "+mounttest.SomeID+" on ", m.LookUp("token_id", mounttest.SomeID))
	begins("look for the service user in other mounts and workspaces", m.LookUp("service_user", "vault-2f9f1a7c-ci-abcdefgh"))
}

func TestConfig_ExpiringAdminTokenNamesTheCommandToReplaceIt(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(mounttest.Day))))
	for range 2 { // before and after the expiry
		resp, err := m.Handle(logical.ReadOperation, "config", nil)
		require.NoError(t, err)
		require.Len(t, resp.Warnings, 1)
		require.Contains(t, resp.Warnings[0], ": vault write modal/config token_id=… token_secret=-")
		m.Clock.Advance(2 * mounttest.Day)
	}
}

func TestNextStep_SaysThatTheEngineIsPaused(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	const paused = "the engine is paused, so it does nothing by itself until: vault write modal/config paused=false"
	m.AddManaged("ci")
	require.Contains(t, m.Write("config", map[string]any{"paused": true}).Data["next_step"], paused)
	rotated := m.Write("rotate/ci", nil).Data
	require.Contains(t, rotated["next_step"], paused)
	require.Contains(t, m.Revocation(mounttest.TextIn(rotated, "previous_token_id"), "next_step"), paused)
	require.Contains(t, m.Write("roles/ci", map[string]any{"grace_period": "2h"}).Data["next_step"], paused)
	require.Equal(t, true, m.Read("rotate/ci")["paused"])
	m.Modal.DeleteToken(m.TokenID("ci"))
	require.Contains(t, m.Write("verify/ci", nil).Data["next_step"], paused)
	require.Contains(t, m.Remove("roles/ci", nil).Data["next_step"], paused)
	m.Write("config", map[string]any{"paused": false})
}

func TestNextStep_PromisesNoDeletionWhileTheMountIsOutOfSync(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	_, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	m.Minutes(12)
	require.Equal(t, true, m.Read("status")["out_of_sync"])
	require.Contains(t, m.Revocation(old, "next_step"), "the engine deletes nothing until an operator decides: vault list -detailed modal/orphans")
}
