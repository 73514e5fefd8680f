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

// The tests in this file check that the engine stores its intent before it calls Modal, and that the intent survives a
// crash.

func TestRevocation_ForceIsStoredBeforeModalIsCalled(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		dies   func(m *mounttest.Mount)
		stored bool
	}{
		"the process dies before it": {func(m *mounttest.Mount) { m.Storage.Plan(mounttest.Cut{At: 1, Deadly: true}) }, false},
		"the process dies after it":  {func(m *mounttest.Mount) { m.Storage.Plan(mounttest.Cut{At: 1, Committed: true, Deadly: true}) }, true},
		"the process dies at the first call": {func(m *mounttest.Mount) {
			m.Modal.OnCall(func(string) { m.Storage.Die() })
			m.Modal.SetOutage(true)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			old := m.AddManaged("ci", map[string]any{"grace_period": "300d"})
			m.Write("rotate/ci", nil)
			calls := len(m.Modal.Calls(""))
			test.dies(m)

			_, err := m.Handle(logical.UpdateOperation, "revocations/"+old, map[string]any{"force": true})

			require.Error(t, err)
			if !strings.HasSuffix(name, "call") {
				require.Len(t, m.Modal.Calls(""), calls, "the engine stores the force before it calls Modal")
			}
			m.Modal.OnCall(nil)
			m.Modal.ClearFaults()
			m.Restart()
			m.Tick()
			require.Equal(t, !test.stored, m.Knows(old), "the worker revokes the token if the force was stored")
		})
	}
}

func TestRevocation_ForceSurvivesAnOutageAndARestart(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"grace_period": "300d"})
	m.Write("rotate/ci", nil)
	m.Modal.SetOutage(true)
	require.Equal(t, false, m.Write("revocations/"+old, map[string]any{"force": true}).Data["revoked"])
	m.Modal.SetOutage(false)
	m.Restart()
	m.Minutes(5)
	require.False(t, m.Knows(old))
}

func TestUndo_NeverRestoresATokenThatModalMayHaveDeleted(t *testing.T) {
	t.Parallel()
	for name, endToken := range map[string]func(m *mounttest.Mount, old string){
		"acknowledged and not proven": func(m *mounttest.Mount, old string) {
			m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: -1, Match: func(c modaltest.Call) bool { return c.TokenID == old }})
			m.Write("revocations/"+old, map[string]any{"force": true})
		},
		"done and the process died": func(m *mounttest.Mount, _ string) {
			m.Modal.OnCall(func(rpc string) {
				if rpc == "ServiceUserDelete" {
					m.Storage.Die()
				}
			})
			m.Clock.Advance(24 * time.Hour)
			_ = m.Try(logical.RollbackOperation, "", nil)
			m.Modal.OnCall(nil)
			m.Restart()
			m.Clock.Advance(-2 * time.Hour)
		},
		"asked for and no answer came": func(m *mounttest.Mount, old string) {
			m.Modal.Inject("ServiceUserDelete", unanswered(true, 1))
			m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: -1, Match: func(c modaltest.Call) bool { return c.TokenID == old }})
			m.Clock.Advance(24 * time.Hour)
			m.Tick()
			m.Clock.Advance(-2 * time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			old := m.AddManaged("ci")
			m.Write("rotate/ci", nil)
			current := m.TokenID("ci")

			endToken(m, old)

			m.Modal.ClearFaults()
			require.True(t, m.InQueue(old))
			require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true}), "no previous token")
			require.Equal(t, current, m.TokenID("ci"))
			m.Minutes(3 * 60)
			require.False(t, m.InQueue(old))
		})
	}
}

func TestRevocation_OfAReturnedTokenIsRemovedOnceDue(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.NewToken()
	m.Write("roles/ci", mounttest.Also(token, "type", "static"))
	m.Remove("roles/ci", nil)
	id := mounttest.TextIn(token, "token_id")
	m.Storage.Plan(mounttest.Cut{At: 4}) // the owner entry, the credential, the role, and then the deletion of the revocation
	m.Write("roles/other", mounttest.Also(token, "type", "static"))
	require.Equal(t, "delete revocation/"+id, m.Storage.Recorded()[3])
	require.True(t, m.InQueue(id))

	m.Clock.Advance(25 * time.Hour) // the deleted role's grace period is over
	m.Tick()

	require.False(t, m.InQueue(id))
	require.Equal(t, id, m.TokenID("other"))
	require.True(t, m.Knows(id))
}

func TestRevocation_ForceOfAManualTokenIsStoredBeforeModalIsCalled(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci", map[string]any{"verify": false})
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "force", true))
	require.Equal(t, "manual", m.Revocation(old, "method"))
	m.Modal.OnCall(func(string) { m.Storage.Die() })

	require.Error(t, m.Try(logical.UpdateOperation, "revocations/"+old, map[string]any{"force": true}))

	require.Equal(t, "true", storedFields(m, "revocation/"+old)["forced"])
}

func TestRoles_TheSameWriteAgainStoresNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	for name, settings := range map[string]map[string]any{
		"ci": managedRole, "job": {"type": "dynamic", "environment_roles": "main=viewer"}, "empty": {"type": "static", "environment": "main"},
	} {
		m.Write("roles/"+name, settings)
		m.Storage.Heal()
		m.Write("roles/"+name, settings)
		require.Empty(t, m.Storage.Recorded(), name)
	}
}
