// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

func TestVerify_ChangedEnvironmentRolesAreSetAgainAndLogged(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	id := h.managed("ci")
	h.configure(model.ConfigWrite{VerificationInterval: to(time.Hour)})
	user := h.current("ci").Identity
	h.workspace.SetServiceUserRole(user, "staging", "contributor")
	h.workspace.SetServiceUserRole(user, "main", "viewer")
	v := h.verify("ci")
	require.True(t, v.Accepted)
	require.True(t, v.RolesDiffer)
	h.minutes(1)
	require.Equal(t, map[string]string{"main": "contributor", "staging": "no-access"}, withNoAccess(h.rolesOf(id), "staging"))
	require.Contains(t, h.recorded.lines(), "environment roles differed and were set again")
	require.False(t, h.verify("ci").RolesDiffer)
	h.workspace.SetServiceUserRole(user, "main", "viewer")
	h.minutes(61)
	require.Equal(t, "contributor", h.rolesOf(id)["main"], "the worker must set the roles without a request")
}

func TestVerify_RolesThatCannotBeSetHideNoAnswerAndAreRetriedSlowly(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
	ask.Managed.Disabled = to(true)
	h.write(ask)
	cred := h.current("ci")
	h.modal.SetDisabled(cred.ID, true)
	require.False(t, h.verify("ci").Accepted)
	h.modal.SetDisabled(cred.ID, false)
	h.workspace.SetServiceUserRole(cred.Identity, "main", "viewer")
	h.configure(model.ConfigWrite{MaxEnvironmentRole: to(modalapi.RoleViewer)})
	h.minutes(60)
	require.Equal(t, model.StateDisabled, h.state("ci"))
	asked := len(h.modal.Calls("TokenInfoGet"))
	h.minutes(60)
	require.LessOrEqual(t, len(h.modal.Calls("TokenInfoGet"))-asked, 12)
	h.configure(model.ConfigWrite{MaxEnvironmentRole: model.Change[modalapi.EnvironmentRole]{Set: true, Reset: true}})
	h.minutes(11)
	require.Equal(t, map[string]string{"main": "contributor"}, h.rolesOf(cred.ID))
}

func TestVerify_EveryCutOfSettingRolesAgainIsContinued(t *testing.T) {
	t.Parallel()
	cuts := 0
	for at, reached := 1, true; reached; at++ {
		for _, after := range []bool{false, true} {
			inBubble(t, func(b *bubble) {
				b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
				b.managed("ci")
				user := b.current("ci").Identity
				b.ticks(time.Minute)
				b.workspace.SetServiceUserRole(user, "main", "viewer")
				b.pass(model.DefaultVerification)
				b.disk.crashAt(at, after)
				_ = b.engine.Worker.Tick(b.t.Context())
				if reached = b.disk.crashed(); reached {
					cuts++
				}
				b.restart()
				b.ticks(30 * time.Minute)
				require.Equal(b.t, map[string]string{"main": "contributor"}, b.modal.ServiceUsers()[0].Roles, "cut %d, after %t", at, after)
				require.False(b.t, b.current("ci").RolesDiffer)
			})
		}
	}
	require.GreaterOrEqual(t, cuts, 4, "the write of the difference and the write of its end, before and after each")
}
