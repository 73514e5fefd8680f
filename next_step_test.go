// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestNextStep_OfAnEntryHasTheWholeCommandToPaste(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	step := func(id string) string { return textIn(m.read("revocations/"+id), "next_step") }
	managed := m.addManaged("ci")
	m.write("rotate/ci", nil)
	require.Contains(t, step(managed), "; at once with: vault write modal/revocations/"+managed+" force=true")
	m.modal.Inject("ServiceUserDelete", deleteFails)
	m.clock.advance(25 * time.Hour)
	m.tick()
	require.Contains(t, step(managed), "; try now with: vault write -f modal/revocations/"+managed)

	member := m.addRole("work")
	m.write("rotate/work", m.newToken())
	require.Contains(t, step(member), "nothing: the engine will have token "+member+" delete itself; at once with: vault write modal/revocations/"+member+" force=true")
	static := m.addRole("personal", map[string]any{"revoke_previous": false})
	m.write("rotate/personal", m.newToken())
	require.Contains(t, step(static), "modal workspace member-tokens delete "+static+
		"; then have the engine look: vault write -f modal/revocations/"+static)
	robot := m.workspace.AddServiceUser("robot")
	m.write("roles/robot", also(pairData(robot), "type", "static"))
	m.remove("roles/robot", nil)
	require.Contains(t, step(robot.ID), "modal workspace service-users delete robot; ")
}

func TestConfig_AnAdminTokenThatComesToItsEndNamesTheCommandThatBringsAnother(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", m.newToken(modaltest.ExpiresAt(start.Add(day))))
	for range 2 { // before its end, and after
		resp, err := m.handle(logical.ReadOperation, "config", nil)
		require.NoError(t, err)
		require.Len(t, resp.Warnings, 1)
		require.Contains(t, resp.Warnings[0], ": vault write modal/config token_id=… token_secret=-")
		m.clock.advance(2 * day)
	}
}
