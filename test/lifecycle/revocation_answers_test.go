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

// The tests in this file check that an answer that Modal does not give never counts as an answer.

// noAnswers are the faults in which Modal itself says nothing.
var noAnswers = map[string]modaltest.Fault{
	"throttled":            {Code: codes.ResourceExhausted, Times: -1},
	"unavailable":          {Code: codes.Unavailable, Times: -1},
	"a proxy rejects":      {HTTPStatus: 401, Times: -1},
	"a proxy forbids":      {HTTPStatus: 403, Times: -1},
	"a proxy has no route": {HTTPStatus: 404, Times: -1},
}

// keptToken returns a mount with an admin token, and a previous token that the engine leaves to people.
func keptToken(t *testing.T) (m *mounttest.Mount, id string) {
	t.Helper()
	m = mounttest.NewManaged(t)
	first := m.NewToken()
	m.Write("roles/personal", mounttest.Also(first, "type", "static", "grace_period", "1h", "revoke_previous", false))
	m.Write("rotate/personal", m.NewToken())
	return m, mounttest.TextIn(first, "token_id")
}

func TestRevocation_IsNotProvenWhileTheListOfMemberTokensDoesNotArrive(t *testing.T) {
	t.Parallel()
	for name, fault := range noAnswers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, id := keptToken(t)
			m.Modal.SetDisabled(id, true)
			m.Modal.Inject("TokensList", fault)

			m.Minutes(8 * 60)

			require.True(t, m.InQueue(id))
			require.Contains(t, m.Revocation(id, "last_error"), "did not say whether the token is deleted or only disabled")
			require.Error(t, m.Try(logical.DeleteOperation, "revocations/"+id, nil))
			require.Empty(t, m.Proofs())
		})
	}
}

func TestRevocation_IsNotProvenWhileItsServiceUserCannotBeLookedUp(t *testing.T) {
	t.Parallel()
	for name, fault := range noAnswers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			id := m.AddManaged("ci")
			m.Write("rotate/ci", map[string]any{"grace_period": "1h"})
			m.Clock.Advance(time.Hour)
			m.Modal.Inject("ServiceUserDelete", deleteFails)
			m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unauthenticated, Match: only(id), Times: -1})
			m.Modal.Inject("ServiceUserInfo", fault)

			m.Minutes(3)

			require.True(t, m.InQueue(id))
			require.Error(t, m.Try(logical.DeleteOperation, "revocations/"+id, nil))
			require.Empty(t, m.Proofs())
			m.Modal.ClearFaults()
			m.Minutes(7 * 60)
			require.Equal(t, []string{"deleted"}, m.Proofs())
		})
	}
}

func TestRevocation_EachWitnessMustAnswer(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.ResourceExhausted, codes.Internal} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			m, id := keptToken(t)
			admin := mounttest.TextIn(m.Read("config"), "token_id")
			m.Modal.DeleteToken(id)
			m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: code, Match: only(admin), Times: -1})

			m.Minutes(62)

			require.True(t, m.InQueue(id))
			require.Contains(t, m.Revocation(id, "last_error"), "did not answer about token "+admin)
			m.Modal.ClearFaults()
			m.Write("revocations/"+id, nil)
			require.False(t, m.InQueue(id))
		})
	}
}

func TestRevocation_AnyAcceptedWitnessIsEnough(t *testing.T) {
	t.Parallel()
	for _, rejected := range []string{"admin token", "current token"} {
		t.Run(rejected+" rejected", func(t *testing.T) {
			t.Parallel()
			m, id := keptToken(t)
			m.Modal.DeleteToken(id)
			other := m.TokenID("personal")
			if rejected == "admin token" {
				other = mounttest.TextIn(m.Read("config"), "token_id")
			}
			m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unauthenticated, Match: only(other), Times: -1})

			m.Minutes(61)

			require.False(t, m.InQueue(id), "Modal accepts another token of the same workspace")
			require.Equal(t, []string{"rejected"}, m.Proofs())
		})
	}
}

func TestVerify_AProxysRejectionCountsOnlyIfModalAcceptsTheAdminTokenThen(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]modaltest.Fault{
		"unavailable": {Code: codes.Unavailable}, "throttled": {Code: codes.ResourceExhausted}, "rejected": {Code: codes.Unauthenticated},
		"a gateway fails": {HTTPStatus: 503}, "a proxy rejects": {HTTPStatus: 401}, "a proxy has no route": {HTTPStatus: 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			id := m.AddManaged("ci")
			m.Modal.Inject("TokenInfoGet", modaltest.Fault{HTTPStatus: 401, Match: only(id), Times: -1})
			require.Equal(t, false, m.Write("verify/ci", nil).Data["accepted"], "Modal accepts the admin token")
			m.Modal.ClearFaults()
			require.Equal(t, true, m.Write("verify/ci", nil).Data["accepted"])

			answer.Match, answer.Times = only(mounttest.TextIn(m.Read("config"), "token_id")), -1
			m.Modal.Inject("TokenInfoGet", modaltest.Fault{HTTPStatus: 401, Match: only(id), Times: -1})
			m.Modal.Inject("TokenInfoGet", answer)

			require.Error(t, m.Try(logical.UpdateOperation, "verify/ci", nil))
			m.Minutes(5)
			require.Equal(t, id, m.TokenID("ci"))
			require.NotEqual(t, "rejected", m.Read("rotate/ci")["state"])
		})
	}
}

func TestRevocation_EachTokenThatMayListMemberTokensIsAsked(t *testing.T) {
	t.Parallel()
	m, id := keptToken(t)
	m.Modal.SetDisabled(id, true)
	m.Modal.Inject("TokensList", modaltest.Fault{Code: codes.PermissionDenied, Match: only(mounttest.TextIn(m.Read("config"), "token_id")), Times: -1})

	m.Minutes(62)

	require.True(t, m.InQueue(id), "the role's current token can list, although the admin token cannot")
	require.Contains(t, m.Revocation(id, "last_error"), "disabled")
}

func TestVerify_TheAdminTokenOfAnotherServerDoesNotConfirmAProxysRejection(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddRole("ci")
	other := modaltest.Start(t, modaltest.WithClock(m.Clock.Now))
	m.Write("config", mounttest.Also(mounttest.TokenData(other.AddWorkspace("acme").AddMember("alice").NewToken()), "server_url", other.URL(), "force", true))
	m.Modal.Inject("TokenInfoGet", modaltest.Fault{HTTPStatus: 401, Match: only(id), Times: -1})

	require.Error(t, m.Try(logical.UpdateOperation, "verify/ci", nil))
	m.Clock.Advance(2 * mounttest.Day)
	m.Tick()

	require.NotEqual(t, "rejected", m.Read("rotate/ci")["state"])
	m.Modal.ClearFaults()
	require.Equal(t, true, m.Write("verify/ci", nil).Data["accepted"])
}
