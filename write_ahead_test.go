// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// The tests in this file check that the engine stores its intent before it calls Modal, and that the intent survives a
// crash.

func TestRevocation_ForceIsStoredBeforeModalIsCalled(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		dies   func(m *mount)
		stored bool
	}{
		"the process dies before it": {func(m *mount) { m.storage.plan(cut{at: 1, deadly: true}) }, false},
		"the process dies after it":  {func(m *mount) { m.storage.plan(cut{at: 1, committed: true, deadly: true}) }, true},
		"the process dies at the first call": {func(m *mount) {
			m.modal.OnCall(func(string) { m.storage.die() })
			m.modal.SetOutage(true)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			old := m.addManaged("ci", map[string]any{"grace_period": "300d"})
			m.write("rotate/ci", nil)
			calls := len(m.modal.Calls(""))
			test.dies(m)

			_, err := m.handle(logical.UpdateOperation, "revocations/"+old, map[string]any{"force": true})

			require.Error(t, err)
			if !strings.HasSuffix(name, "call") {
				require.Len(t, m.modal.Calls(""), calls, "the engine stores the force before it calls Modal")
			}
			m.modal.OnCall(nil)
			m.modal.ClearFaults()
			m.restart()
			m.tick()
			require.Equal(t, !test.stored, m.knows(old), "the worker revokes the token if the force was stored")
		})
	}
}

func TestRevocation_ForceSurvivesAnOutageAndARestart(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"grace_period": "300d"})
	m.write("rotate/ci", nil)
	m.modal.SetOutage(true)
	require.Equal(t, false, m.write("revocations/"+old, map[string]any{"force": true}).Data["revoked"])
	m.modal.SetOutage(false)
	m.restart()
	m.minutes(5)
	require.False(t, m.knows(old))
}

func TestUndo_NeverRestoresATokenThatModalMayHaveDeleted(t *testing.T) {
	t.Parallel()
	for name, endToken := range map[string]func(m *mount, old string){
		"acknowledged and not proven": func(m *mount, old string) {
			m.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: -1, Match: func(c modaltest.Call) bool { return c.TokenID == old }})
			m.write("revocations/"+old, map[string]any{"force": true})
		},
		"done and the process died": func(m *mount, _ string) {
			m.modal.OnCall(func(rpc string) {
				if rpc == "ServiceUserDelete" {
					m.storage.die()
				}
			})
			m.clock.advance(24 * time.Hour)
			_ = m.try(logical.RollbackOperation, "", nil)
			m.modal.OnCall(nil)
			m.restart()
			m.clock.advance(-2 * time.Hour)
		},
		"asked for and no answer came": func(m *mount, old string) {
			m.modal.Inject("ServiceUserDelete", unanswered(true, 1))
			m.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: -1, Match: func(c modaltest.Call) bool { return c.TokenID == old }})
			m.clock.advance(24 * time.Hour)
			m.tick()
			m.clock.advance(-2 * time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			old := m.addManaged("ci")
			m.write("rotate/ci", nil)
			current := m.tokenID("ci")

			endToken(m, old)

			m.modal.ClearFaults()
			require.True(t, m.inQueue(old))
			require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true}), "no previous token")
			require.Equal(t, current, m.tokenID("ci"))
			m.minutes(3 * 60)
			require.False(t, m.inQueue(old))
		})
	}
}

func TestRevocation_OfAReturnedTokenIsRemovedOnceDue(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := m.newToken()
	m.write("roles/ci", also(token, "type", "static"))
	m.remove("roles/ci", nil)
	id := textIn(token, "token_id")
	m.storage.plan(cut{at: 4}) // the owner entry, the credential, the role, and then the deletion of the revocation
	m.write("roles/other", also(token, "type", "static"))
	require.Equal(t, "delete revocation/"+id, m.storage.recorded()[3])
	require.True(t, m.inQueue(id))

	m.clock.advance(25 * time.Hour) // the deleted role's grace period is over
	m.tick()

	require.False(t, m.inQueue(id))
	require.Equal(t, id, m.tokenID("other"))
	require.True(t, m.knows(id))
}
