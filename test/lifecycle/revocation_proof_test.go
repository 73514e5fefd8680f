// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// only matches the calls that use a token.
func only(tokenID string) func(modaltest.Call) bool {
	return func(call modaltest.Call) bool { return call.TokenID == tokenID }
}

func TestRevocation_IsNotProvenWhileModalRejectsEverything(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Write("rotate/ci", nil)
	person := m.AddRole("personal", map[string]any{"grace_period": "1h"})
	m.Write("rotate/personal", m.NewToken())
	m.Modal.Inject("*", modaltest.Fault{Code: codes.Unauthenticated, Message: "workspace suspended", Times: -1})
	m.Minutes(120)
	for _, id := range []string{old, person} {
		require.True(t, m.InQueue(id))
		require.NotEmpty(t, m.Revocation(id, "last_error"))
	}
	require.NotContains(t, m.EventTypes(), "modal/revoke")
	m.Modal.ClearFaults()

	m.Minutes(7 * 60)

	for _, id := range []string{old, person} {
		require.False(t, m.InQueue(id))
		require.False(t, m.Knows(id))
	}
	require.Equal(t, []string{"deleted", "deleted"}, m.Proofs())
}

func TestRevocation_TemporaryRejectionProvesNothingWithoutADeletion(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Write("rotate/ci", nil)
	m.Write("roles/personal", mounttest.Also(m.NewToken(), "type", "static", "grace_period", "1h", "revoke_previous", false))
	person := m.TokenID("personal")
	m.Write("rotate/personal", m.NewToken())
	m.Clock.Advance(59 * time.Minute)
	m.Modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.PermissionDenied, Times: -1}) // the admin lost the right
	for _, id := range []string{old, person} {
		m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unauthenticated, Match: only(id)})
	}
	m.Minutes(1)
	require.Contains(t, m.Revocation(person, "last_error"), "still lists it")
	m.Minutes(2)
	require.True(t, m.InQueue(old))
	require.True(t, m.InQueue(person))
	m.Modal.ClearFaults()
	m.Modal.DeleteToken(person)
	m.Minutes(6 * 60)
	require.False(t, m.InQueue(old))
	require.False(t, m.InQueue(person))
	require.ElementsMatch(t, []string{"rejected", "deleted"}, m.Proofs())
}

func TestRevocation_IsNotForgottenWhileModalRejectsEverything(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	person := m.AddRole("personal", map[string]any{"grace_period": "1h"})
	m.Write("rotate/personal", m.NewToken())
	m.Modal.Inject("*", modaltest.Fault{Code: codes.Unauthenticated, Times: -1})
	require.Contains(t, m.Refused(logical.DeleteOperation, "revocations/"+person, nil), "proves nothing")
	require.True(t, m.InQueue(person))
	m.Modal.ClearFaults()
}

func TestRevocation_WithoutAWitnessNeedsASecondRejectionAnHourLater(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	id := m.AddRole("personal", map[string]any{"grace_period": "1h"})
	secret := m.Credential("personal").Secret
	m.Remove("roles/personal", nil)
	m.Minutes(90)
	require.Equal(t, "waiting for an operator", m.Revocation(id, "state"))
	m.Modal.SetDisabled(id, true)

	m.Clock.Advance(6 * time.Hour)
	m.Tick()
	require.Equal(t, "unconfirmed", m.Revocation(id, "state"))
	first := m.Revocation(id, "next_attempt")
	for range 5 {
		m.Write("revocations/"+id, nil)
		m.Clock.Advance(10 * time.Minute)
	}
	require.Equal(t, first, m.Revocation(id, "next_attempt"))
	m.Modal.SetDisabled(id, false)
	m.Write("revocations/"+id, nil)
	require.Equal(t, "waiting for an operator", m.Revocation(id, "state"), "an acceptance in between restarts the wait")
	m.Modal.SetDisabled(id, true)
	m.Write("revocations/"+id, nil)
	m.Clock.Advance(59 * time.Minute)
	require.Equal(t, false, m.Write("revocations/"+id, nil).Data["revoked"])
	require.Equal(t, false, m.Write("revocations/"+id, map[string]any{"force": true}).Data["revoked"], "neither repetition nor force shortens the hour")
	m.Clock.Advance(time.Minute)
	m.Tick()
	require.False(t, m.InQueue(id))
	require.Equal(t, []string{"rejected twice"}, m.Proofs())
	require.False(t, m.Modal.Accepts(id, secret))
}

func TestRevocation_OfADisabledMemberTokenIsNotProven(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/kept", mounttest.Also(m.NewToken(), "type", "static", "grace_period", "1h", "revoke_previous", false))
	kept := m.Credential("kept").Token
	m.Write("rotate/kept", m.NewToken())
	m.Write("roles/personal", mounttest.Also(m.NewToken(), "type", "static", "grace_period", "1h"))
	ended := m.Credential("personal").Token
	m.Write("rotate/personal", m.NewToken())
	m.Modal.SetDisabled(kept.ID, true)
	m.Modal.SetDisabled(ended.ID, true)

	m.Minutes(8 * 60)

	require.False(t, m.InQueue(ended.ID), "the same person's current token deleted the old token")
	require.Equal(t, []string{"deleted"}, m.Proofs())
	require.True(t, m.InQueue(kept.ID), "a person can enable the token again")
	require.Contains(t, m.Revocation(kept.ID, "last_error"), "disabled")
	require.Equal(t, "waiting for an operator", m.Revocation(kept.ID, "state"))
	require.Contains(t, m.Refused(logical.DeleteOperation, "revocations/"+kept.ID, nil), "disabled")
	m.Modal.SetDisabled(kept.ID, false)
	require.True(t, m.Modal.Accepts(kept.ID, kept.Secret))
	m.Modal.DeleteToken(kept.ID)
	m.Write("revocations/"+kept.ID, nil)
	require.False(t, m.InQueue(kept.ID))
}

func TestRevocation_OfATokenThatIsEnabledAgainNoLongerSaysDisabled(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/kept", mounttest.Also(m.NewToken(), "type", "static", "grace_period", "1h", "revoke_previous", false))
	kept := m.Credential("kept").Token
	m.Write("rotate/kept", m.NewToken())
	m.Modal.SetDisabled(kept.ID, true)
	m.Minutes(2 * 60)
	require.Contains(t, m.Revocation(kept.ID, "next_step"), "disabled")
	m.Modal.SetDisabled(kept.ID, false)

	m.Write("revocations/"+kept.ID, nil)

	require.NotContains(t, m.Revocation(kept.ID, "next_step"), "disabled")
	require.NotContains(t, m.Revocation(kept.ID, "last_error"), "disabled")
}

func TestRevocation_KeepsTheLastWorkingTokenBesideAnUnverifiedToken(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	first := m.NewToken()
	m.Write("roles/personal", mounttest.Also(first, "type", "static", "grace_period", "3d"))
	m.Write("rotate/personal", mounttest.Also(m.NewToken(), "token_secret", mounttest.SomeSecret, "verify", false))
	m.Clock.Advance(2 * mounttest.Day)
	m.Minutes(5)
	require.Equal(t, "rejected", m.Read("rotate/personal")["state"])
	m.Clock.Advance(mounttest.Day)
	m.Minutes(5)
	require.True(t, m.Knows(mounttest.TextIn(first, "token_id")))
	require.Contains(t, m.Revocation(mounttest.TextIn(first, "token_id"), "last_error"), "keeps this previous token")
}

func TestRevocation_KeepsTheLastWorkingTokenAlsoAfterAFailedDeletion(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci", map[string]any{"grace_period": "1h"})
	secret := m.Credential("ci").Secret
	m.Write("rotate/ci", m.NewToken())
	m.Clock.Advance(time.Hour)
	m.Modal.Inject("TokenDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	m.Tick()
	require.NotEmpty(t, m.Modal.Calls("TokenDelete"))
	m.Modal.ClearFaults()
	m.Modal.DeleteToken(m.TokenID("ci"))

	m.Minutes(7 * 60)

	require.True(t, m.Modal.Accepts(old, secret))
	require.Contains(t, m.Revocation(old, "last_error"), "keeps this previous token")
}

func TestRevocation_KeepsTheOldAdminTokenWhileModalRejectsTheNew(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	first, next := mounttest.TextIn(m.Read("config"), "token_id"), m.NewToken()
	m.Write("config/rotate", next)
	m.Modal.DeleteToken(mounttest.TextIn(next, "token_id"))
	m.Minutes(120)
	require.True(t, m.Knows(first))
	require.Contains(t, m.Revocation(first, "last_error"), "keeps this previous token")
	m.Write("config", m.NewToken())
	m.Minutes(6 * 60)
	require.False(t, m.Knows(first))
}

func TestRevocation_ReportsNotFoundAsModalSaidIt(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	m.Modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.NotFound, Times: -1})
	m.Minutes(3)
	require.Equal(t, "retrying", m.Revocation(old, "state"))
	require.Contains(t, m.Revocation(old, "last_error"), "does not exist, and still accepts its token")
	m.Modal.DeleteToken(old)
	m.Modal.ClearFaults()
	m.Clock.Advance(6 * time.Hour)
	m.Tick()
	require.Equal(t, []string{"rejected"}, m.Proofs())
}

func TestRevocation_IsNotProvenByAProxyThatRejectsEverything(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]modaltest.Fault{
		"with a page":            {HTTPStatus: 401, Times: -1},
		"without a content type": {HTTPStatus: 401, NoContentType: true, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			old := m.AddManaged("ci", map[string]any{"grace_period": "1h"})
			m.Write("rotate/ci", nil)
			person := m.AddRole("personal", map[string]any{"grace_period": "1h"})
			m.Write("rotate/personal", m.NewToken())
			kept := m.AddRole("kept", map[string]any{"grace_period": "1h", "revoke_previous": false})
			m.Write("rotate/kept", m.NewToken())
			m.Clock.Advance(59 * time.Minute)
			calls := m.Modal.CallCount()
			m.Modal.Inject("*", answer)

			m.Minutes(120)

			require.NotEmpty(t, m.Modal.CallsFrom(calls))
			m.Modal.ClearFaults()
			require.Empty(t, m.Proofs())
			for _, id := range []string{old, person, kept} {
				require.True(t, m.InQueue(id))
				require.True(t, m.Knows(id))
			}
			m.Minutes(7 * 60)
			require.Equal(t, []string{"deleted", "deleted"}, m.Proofs())
			require.True(t, m.InQueue(kept))
		})
	}
}

func TestRevocation_BareHTTPStatusWithoutAWitnessProvesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	id := m.AddRole("personal", map[string]any{"grace_period": "1h"})
	m.Remove("roles/personal", nil)
	m.Modal.Inject("*", modaltest.Fault{HTTPStatus: 401, Times: -1})
	m.Minutes(20 * 60)
	m.Modal.ClearFaults()
	require.Contains(t, m.Revocation(id, "last_error"), "HTTP status")
	require.True(t, m.InQueue(id))
}

func TestVerify_ProxyThatRejectsEverythingRejectsNoRole(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("config", map[string]any{"verification_interval": "10m"})
	m.AddManaged("ci")
	m.AddRole("personal")
	before := m.TokenID("ci")
	m.Modal.Inject("*", modaltest.Fault{HTTPStatus: 401, Times: -1})
	m.Minutes(60)
	require.Equal(t, "ok", m.Read("rotate/ci")["state"])
	require.Equal(t, "ok", m.Read("rotate/personal")["state"])
	require.Equal(t, "ok", m.Read("status")["admin_token_state"])
	require.NotContains(t, m.EventTypes(), "modal/token-rejected")
	for path, data := range map[string]map[string]any{"verify/ci": nil, "roles/other": mounttest.Also(m.NewToken(), "type", "static"), "config/rotate": m.NewToken()} {
		status, text := m.Failed(logical.UpdateOperation, path, data)
		require.Equal(t, 502, status, path)
		require.Contains(t, text, "HTTP 401", path)
	}
	m.Modal.ClearFaults()
	m.Minutes(20)
	require.Equal(t, before, m.TokenID("ci"))
}
