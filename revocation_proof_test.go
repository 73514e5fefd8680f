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

// only matches the calls that use a token.
func only(tokenID string) func(modaltest.Call) bool {
	return func(call modaltest.Call) bool { return call.TokenID == tokenID }
}

// revocation returns a field of a revocation, nil if the queue does not contain the ID.
func (m *mount) revocation(id, field string) any {
	m.t.Helper()
	resp, err := m.handle(logical.ReadOperation, "revocations/"+id, nil)
	require.NoError(m.t, err)
	return resp.Data[field]
}

// proofs returns the proofs that the log names, in order.
func (m *mount) proofs() (proofs []string) {
	for _, line := range m.lines() {
		if _, proof, found := strings.Cut(line, "proof="); found {
			proofs = append(proofs, strings.Trim(proof, `"`))
		}
	}
	return proofs
}

func TestRevocation_IsNotProvenWhileModalRejectsEverything(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"grace_period": "1h"})
	m.write("rotate/ci", nil)
	person := m.addRole("personal", map[string]any{"grace_period": "1h"})
	m.write("rotate/personal", m.newToken())
	m.modal.Inject("*", modaltest.Fault{Code: codes.Unauthenticated, Message: "workspace suspended", Times: -1})
	m.minutes(120)
	for _, id := range []string{old, person} {
		require.True(t, m.inQueue(id))
		require.NotEmpty(t, m.revocation(id, "last_error"))
	}
	require.NotContains(t, m.eventTypes(), "modal/revoke")
	m.modal.ClearFaults()

	m.minutes(7 * 60)

	for _, id := range []string{old, person} {
		require.False(t, m.inQueue(id))
		require.False(t, m.knows(id))
	}
	require.Equal(t, []string{"deleted", "deleted"}, m.proofs())
}

func TestRevocation_TemporaryRejectionProvesNothingWithoutADeletion(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"grace_period": "1h"})
	m.write("rotate/ci", nil)
	m.write("roles/personal", also(m.newToken(), "type", "static", "grace_period", "1h", "revoke_previous", false))
	person := m.tokenID("personal")
	m.write("rotate/personal", m.newToken())
	m.clock.advance(59 * time.Minute)
	m.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.PermissionDenied, Times: -1}) // the admin lost the right
	for _, id := range []string{old, person} {
		m.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unauthenticated, Match: only(id)})
	}
	m.minutes(1)
	require.Contains(t, m.revocation(person, "last_error"), "still lists it")
	m.minutes(2)
	require.True(t, m.inQueue(old))
	require.True(t, m.inQueue(person))
	m.modal.ClearFaults()
	m.modal.DeleteToken(person)
	m.minutes(6 * 60)
	require.False(t, m.inQueue(old))
	require.False(t, m.inQueue(person))
	require.ElementsMatch(t, []string{"rejected", "deleted"}, m.proofs())
}

func TestRevocation_IsNotForgottenWhileModalRejectsEverything(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	person := m.addRole("personal", map[string]any{"grace_period": "1h"})
	m.write("rotate/personal", m.newToken())
	m.modal.Inject("*", modaltest.Fault{Code: codes.Unauthenticated, Times: -1})
	require.Contains(t, m.refused(logical.DeleteOperation, "revocations/"+person, nil), "proves nothing")
	require.True(t, m.inQueue(person))
	m.modal.ClearFaults()
}

func TestRevocation_WithoutAWitnessNeedsASecondRejectionAnHourLater(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	id := m.addRole("personal", map[string]any{"grace_period": "1h"})
	secret := m.credential("personal").Secret
	m.remove("roles/personal", nil)
	m.minutes(90)
	require.Equal(t, "waiting for an operator", m.revocation(id, "state"))
	m.modal.SetDisabled(id, true)

	m.clock.advance(6 * time.Hour)
	m.tick()
	require.Equal(t, "unconfirmed", m.revocation(id, "state"))
	first := m.revocation(id, "next_attempt")
	for range 5 {
		m.write("revocations/"+id, nil)
		m.clock.advance(10 * time.Minute)
	}
	require.Equal(t, first, m.revocation(id, "next_attempt"))
	m.modal.SetDisabled(id, false)
	m.write("revocations/"+id, nil)
	require.Equal(t, "waiting for an operator", m.revocation(id, "state"), "an acceptance in between restarts the wait")
	m.modal.SetDisabled(id, true)
	m.write("revocations/"+id, nil)
	m.clock.advance(59 * time.Minute)
	require.Equal(t, false, m.write("revocations/"+id, nil).Data["revoked"])
	require.Equal(t, false, m.write("revocations/"+id, map[string]any{"force": true}).Data["revoked"], "neither repetition nor force shortens the hour")
	m.clock.advance(time.Minute)
	m.tick()
	require.False(t, m.inQueue(id))
	require.Equal(t, []string{"rejected twice"}, m.proofs())
	require.False(t, m.modal.Accepts(id, secret))
}

func TestRevocation_OfADisabledMemberTokenIsNotProven(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.write("roles/kept", also(m.newToken(), "type", "static", "grace_period", "1h", "revoke_previous", false))
	kept := m.credential("kept").Token
	m.write("rotate/kept", m.newToken())
	m.write("roles/personal", also(m.newToken(), "type", "static", "grace_period", "1h"))
	ended := m.credential("personal").Token
	m.write("rotate/personal", m.newToken())
	m.modal.SetDisabled(kept.ID, true)
	m.modal.SetDisabled(ended.ID, true)

	m.minutes(8 * 60)

	require.False(t, m.inQueue(ended.ID), "the same person's current token deleted the old token")
	require.Equal(t, []string{"deleted"}, m.proofs())
	require.True(t, m.inQueue(kept.ID), "a person can enable the token again")
	require.Contains(t, m.revocation(kept.ID, "last_error"), "disabled")
	require.Equal(t, "waiting for an operator", m.revocation(kept.ID, "state"))
	require.Contains(t, m.refused(logical.DeleteOperation, "revocations/"+kept.ID, nil), "disabled")
	m.modal.SetDisabled(kept.ID, false)
	require.True(t, m.modal.Accepts(kept.ID, kept.Secret))
	m.modal.DeleteToken(kept.ID)
	m.write("revocations/"+kept.ID, nil)
	require.False(t, m.inQueue(kept.ID))
}

func TestRevocation_KeepsTheLastWorkingTokenBesideAnUnverifiedToken(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	first := m.newToken()
	m.write("roles/personal", also(first, "type", "static", "grace_period", "3d"))
	m.write("rotate/personal", also(m.newToken(), "token_secret", someSecret, "verify", false))
	m.clock.advance(2 * day)
	m.minutes(5)
	require.Equal(t, "rejected", m.read("rotate/personal")["state"])
	m.clock.advance(day)
	m.minutes(5)
	require.True(t, m.knows(textIn(first, "token_id")))
	require.Contains(t, m.revocation(textIn(first, "token_id"), "last_error"), "keeps this previous token")
}

func TestRevocation_KeepsTheOldAdminTokenWhileModalRejectsTheNew(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	first, next := textIn(m.read("config"), "token_id"), m.newToken()
	m.write("config/rotate", next)
	m.modal.DeleteToken(textIn(next, "token_id"))
	m.minutes(120)
	require.True(t, m.knows(first))
	require.Contains(t, m.revocation(first, "last_error"), "keeps this previous token")
	m.write("config", m.newToken())
	m.minutes(6 * 60)
	require.False(t, m.knows(first))
}

func TestRevocation_ReportsNotFoundAsModalSaidIt(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", map[string]any{"grace_period": 0})
	m.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.NotFound, Times: -1})
	m.minutes(3)
	require.Equal(t, "retrying", m.revocation(old, "state"))
	require.Contains(t, m.revocation(old, "last_error"), "does not exist, and still accepts its token")
	m.modal.DeleteToken(old)
	m.modal.ClearFaults()
	m.clock.advance(6 * time.Hour)
	m.tick()
	require.Equal(t, []string{"rejected"}, m.proofs())
}

func TestRevocation_IsNotProvenByAProxyThatRejectsEverything(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]modaltest.BareAnswer{
		"with a page":            {Status: 401},
		"without a content type": {Status: 401, NoContentType: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			front := modaltest.StartFront(t, m.modal)
			m.write("config", also(m.newToken(), "server_url", front.URL()))
			old := m.addManaged("ci", map[string]any{"grace_period": "1h"})
			m.write("rotate/ci", nil)
			person := m.addRole("personal", map[string]any{"grace_period": "1h"})
			m.write("rotate/personal", m.newToken())
			kept := m.addRole("kept", map[string]any{"grace_period": "1h", "revoke_previous": false})
			m.write("rotate/kept", m.newToken())
			m.clock.advance(59 * time.Minute)
			calls := m.modal.CallCount()
			front.Answer(answer)

			m.minutes(120)

			require.Equal(t, calls, m.modal.CallCount(), "no call reached Modal")
			front.PassOn()
			require.Empty(t, m.proofs())
			for _, id := range []string{old, person, kept} {
				require.True(t, m.inQueue(id))
				require.True(t, m.knows(id))
			}
			m.minutes(7 * 60)
			require.Equal(t, []string{"deleted", "deleted"}, m.proofs())
			require.True(t, m.inQueue(kept))
		})
	}
}

func TestRevocation_BareHTTPStatusWithoutAWitnessProvesNothing(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	front := modaltest.StartFront(t, m.modal)
	m.write("config", map[string]any{"server_url": front.URL()})
	id := m.addRole("personal", map[string]any{"grace_period": "1h"})
	m.remove("roles/personal", nil)
	front.Answer(modaltest.BareAnswer{Status: 401})
	m.minutes(20 * 60)
	front.PassOn()
	require.Contains(t, m.revocation(id, "last_error"), "HTTP status")
	require.True(t, m.inQueue(id))
}

func TestVerify_ProxyThatRejectsEverythingRejectsNoRole(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	front := modaltest.StartFront(t, m.modal)
	m.write("config", also(m.newToken(), "server_url", front.URL(), "verification_interval", "10m"))
	m.addManaged("ci")
	m.addRole("personal")
	before := m.tokenID("ci")
	front.Answer(modaltest.BareAnswer{Status: 401})
	m.minutes(60)
	require.Equal(t, "ok", m.read("rotate/ci")["state"])
	require.Equal(t, "ok", m.read("rotate/personal")["state"])
	require.Equal(t, "ok", m.read("status")["admin_token_state"])
	require.NotContains(t, m.eventTypes(), "modal/token-rejected")
	for path, data := range map[string]map[string]any{"verify/ci": nil, "roles/other": also(m.newToken(), "type", "static"), "config/rotate": m.newToken()} {
		status, text := m.failed(logical.UpdateOperation, path, data)
		require.Equal(t, 502, status, path)
		require.Contains(t, text, "HTTP 401", path)
	}
	front.PassOn()
	m.minutes(20)
	require.Equal(t, before, m.tokenID("ci"))
}
