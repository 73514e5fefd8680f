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

// keptAfterRotation returns a mount without an admin token, and the previous and current token of a role whose previous
// tokens people delete.
func keptAfterRotation(t *testing.T, opts ...modaltest.TokenOption) (m *mounttest.Mount, old, current string) {
	t.Helper()
	m = mounttest.New(t)
	old = m.AddRole("ci", map[string]any{"revoke_previous": false, "grace_period": "1h"})
	m.Write("rotate/ci", m.NewToken(opts...))
	return m, old, m.TokenID("ci")
}

func TestRevocation_AWitnessThatDoesNotAnswerIsNotAMissingWitness(t *testing.T) {
	t.Parallel()
	m, old, current := keptAfterRotation(t)
	m.Modal.DeleteToken(old)
	m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: -1, Match: only(current)})

	m.Minutes(5 * 60)

	require.True(t, m.InQueue(old), "two rejections an hour apart prove nothing while there is a witness to ask")
	require.Equal(t, "waiting for an operator", m.Revocation(old, "state"))
	require.Contains(t, m.Revocation(old, "last_error"), "did not answer about token "+current)
	m.Modal.ClearFaults()
	m.Minutes(7 * 60)
	require.False(t, m.InQueue(old))
	require.Equal(t, []string{"rejected"}, m.Proofs())
}

func TestRevocation_ARejectedCurrentTokenIsNotAMissingWitness(t *testing.T) {
	t.Parallel()
	m, old, current := keptAfterRotation(t)
	m.Modal.DeleteToken(old)
	m.Modal.DeleteToken(current)

	m.Minutes(5 * 60)

	require.True(t, m.InQueue(old), "if Modal rejects all tokens of the mount, nothing is proven")
	require.Equal(t, "waiting for an operator", m.Revocation(old, "state"))
	require.Contains(t, m.Revocation(old, "last_error"), "but also token "+current)
	m.Write("rotate/ci", m.NewToken())
	m.Minutes(7 * 60)
	require.False(t, m.InQueue(old))
	require.Equal(t, "rejected", m.Proofs()[0])
}

func TestRevocation_AnExpiredTokenIsNoWitness(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci", map[string]any{"revoke_previous": false, "grace_period": "1h"})
	m.Write("rotate/ci", m.NewToken(modaltest.ExpiresAt(m.Clock.Now().Add(2*time.Hour))))
	m.Clock.Advance(3 * time.Hour)
	m.Modal.DeleteToken(old)

	m.Minutes(5)
	require.Equal(t, "unconfirmed", m.Revocation(old, "state"), "Modal rejects an expired token in any case")
	m.Minutes(60)

	require.False(t, m.InQueue(old))
	require.Equal(t, []string{"rejected twice"}, m.Proofs())
}

func TestRevocation_ADisabledTokenIsNotRevokedAtItsExpiryEither(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	expiring := m.NewToken(modaltest.ExpiresAt(m.Clock.Now().Add(2 * time.Hour)))
	m.Write("roles/ci", mounttest.Also(expiring, "type", "static", "revoke_previous", false, "grace_period", "1h"))
	old := m.TokenID("ci")
	m.Write("rotate/ci", m.NewToken())
	m.Modal.SetDisabled(old, true)

	m.Minutes(9 * 60)

	require.True(t, m.InQueue(old))
	require.Contains(t, m.Revocation(old, "last_error"), "disabled")
}

func TestRevocation_IsNotForgottenWhileALeasesTokenIsCurrentElsewhere(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/jobs", map[string]any{"type": "dynamic", "environment_roles": "main=viewer"})
	lease := m.Must(logical.ReadOperation, "creds/jobs", nil)
	m.Write("roles/ci", map[string]any{"type": "static", "token_id": lease.Data["token_id"], "token_secret": lease.Data["token_secret"], "verify": false})
	id := m.List("revocations")[0]

	require.Contains(t, m.Refused(logical.DeleteOperation, "revocations/"+id, map[string]any{"force": true}), "also stored it, unverified")

	require.True(t, m.InQueue(id))
}

func TestRevocation_AnUnreachableServerOfTheCurrentTokenDelaysNoOther(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci", map[string]any{"grace_period": "1h"})
	other := modaltest.Start(t, modaltest.WithClock(m.Clock.Now))
	m.Write("config", map[string]any{"server_url": other.URL()})
	m.Write("rotate/ci", mounttest.Also(mounttest.TokenData(other.AddWorkspace("other").AddMember("eve").NewToken()), "force", true))
	other.SetOutage(true)

	m.Minutes(62)

	require.False(t, m.InQueue(old), "the other server may be gone for good")
	require.False(t, m.Knows(old), "the old token deleted itself at its own server")
	other.SetOutage(false)
}

func TestRevocation_TheExpiryOfATokenDoesNotEndItsServiceUser(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"token_ttl": "2d", "grace_period": "1h"})
	m.Write("rotate/ci", nil)
	m.Write("config", map[string]any{"remove_admin_token": true})
	m.Clock.Advance(3 * mounttest.Day)

	for range 4 {
		m.Minutes(2)
		m.Clock.Advance(6 * time.Hour)
	}

	require.True(t, m.InQueue(old), "the service user still exists, and nothing else refers to it")
}

func TestRevocation_AWitnessThatComesLaterIsTheProof(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci", map[string]any{"grace_period": "1h"})
	m.Remove("roles/ci", nil)
	m.Modal.DeleteToken(old)
	m.Minutes(62)
	require.Equal(t, "unconfirmed", m.Revocation(old, "state"))
	m.Write("config", m.NewToken())

	m.Minutes(62)

	require.False(t, m.InQueue(old))
	require.Equal(t, []string{"rejected"}, m.Proofs())
}

func TestRevocation_AnAdminTokenThatListsOnlyItsOwnTokensClearsNoOther(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	carol, bob := m.Workspace.AddMember("carol"), m.Workspace.AddMember("bob")
	carol.SetRole(modaltest.RoleUser)
	m.Write("config", mounttest.TokenData(carol.NewToken()))
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(bob.NewToken()), "type", "static", "revoke_previous", false, "grace_period", "1h"))
	old := m.TokenID("ci")
	m.Write("rotate/ci", mounttest.TokenData(bob.NewToken()))
	m.Modal.SetDisabled(old, true)

	m.Minutes(62)

	require.True(t, m.InQueue(old), "bob's current token tells that the old token is only disabled")
	require.Contains(t, m.Revocation(old, "last_error"), "disabled")
}

func TestRevocation_AnotherServiceUserOfTheSameNameIsNotTheOldOne(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.Workspace.AddServiceUser("deploy")
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(old), "type", "static", "grace_period", "1h"))
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "force", true))
	m.Modal.DeleteToken(old.ID)
	m.Workspace.AddServiceUser("deploy")

	m.Minutes(62)

	require.False(t, m.InQueue(old.ID))
	require.Equal(t, []string{"rejected"}, m.Proofs())
}
