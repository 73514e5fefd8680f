// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

const vaultsMost = 32 * model.Day

// dynamic creates a dynamic role with the environment main.
func (h *harness) dynamic(name string, change ...func(*model.RoleWrite)) {
	h.t.Helper()
	ask := model.RoleWrite{Name: name, Type: to(model.TypeDynamic), Access: model.AccessWrite{
		EnvironmentRoles: to(map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor}),
	}}
	for _, change := range change {
		change(&ask)
	}
	h.write(ask)
}

func (h *harness) lease(name string) *Lease {
	h.t.Helper()
	lease, err := h.engine.Leases.Create(h.t.Context(), LeaseRequest{Role: name, VaultMax: vaultsMost})
	require.NoError(h.t, err)
	return lease
}

// leaseAtGate starts to create a lease and stops before the token is verified. made lets the creation
// continue.
func (h *harness) leaseAtGate(name string) (made func() *Lease) {
	h.t.Helper()
	gate := h.gateAt("TokenInfoGet")
	var lease *Lease
	reads := h.begin(h.t.Context(), func(ctx context.Context) (err error) {
		lease, err = h.engine.Leases.Create(ctx, LeaseRequest{Role: name, VaultMax: vaultsMost})
		return err
	})
	gate.await()
	return func() *Lease {
		gate.open()
		reads.succeeds()
		return lease
	}
}

func TestLease_HasItsOwnTokenThatEndsWithIt(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	first, second := h.lease("job"), h.lease("job")
	require.NotEqual(t, first.Cred.ID, second.Cred.ID)
	require.Equal(t, time.Hour, first.TTL)
	require.Equal(t, model.Day, first.Max)
	require.Equal(t, map[string]string{"main": "contributor"}, h.rolesOf(first.Cred.ID))
	require.Equal(t, model.StateLeased, h.revocation(first.RevocationID).State(h.clock()))
	require.Equal(t, h.clock().Add(model.Day+leaseMargin), h.revocation(first.RevocationID).NotBefore)
	require.Equal(t, h.clock().Add(model.Day+leaseMargin), first.Expires, "Modal must expire the service user if everything else fails")
	require.NoError(t, h.engine.Leases.CheckRenewable(t.Context(), first.RevocationID))

	require.NoError(t, h.engine.Leases.End(t.Context(), first.RevocationID))

	require.False(t, h.alive(first.Cred.ID))
	require.True(t, h.alive(second.Cred.ID))
	require.Nil(t, h.revocation(first.RevocationID))
	require.NoError(t, h.engine.Leases.End(t.Context(), first.RevocationID), "a second revoke must succeed")
	require.Error(t, h.engine.Leases.CheckRenewable(t.Context(), first.RevocationID))
}

func TestLease_EndsAlsoWithoutItsRoleOrWithANewAdminToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	first, second := h.lease("job"), h.lease("job")
	done, err := h.engine.Roles.Delete(t.Context(), "job", false)
	require.NoError(t, err)
	require.Contains(t, done.Tokens[0], "of a lease: works until")
	require.True(t, h.alive(first.Cred.ID), "the deletion of a role must keep its leases")
	require.NoError(t, h.engine.Leases.End(t.Context(), first.RevocationID))
	h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})
	require.NoError(t, h.engine.Leases.End(t.Context(), second.RevocationID))
	require.Empty(t, h.modal.ServiceUsers())
}

func TestLease_OfARoleDeletedByForceEndsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	h.lease("job")
	h.lease("job")
	_, err := h.engine.Roles.Delete(t.Context(), "job", true)
	require.NoError(t, err)
	require.Empty(t, h.modal.ServiceUsers())
	require.Empty(t, h.queueIDs())
}

// Vault's attempts come at its own times. At the first attempts the last comparison with Modal is still
// recent enough.
func TestLease_RevokedInAnOutageIsAnErrorAndEndsTwoTicksAfterIt(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{12 * time.Minute, 13 * time.Hour} {
		inBubble(t, func(b *bubble) {
			t := b.t
			b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
			b.dynamic("job")
			first, lease := b.lease("job"), b.lease("job")
			require.NoError(t, b.engine.Leases.End(t.Context(), first.RevocationID))
			b.modal.SetOutage(true)
			over := time.Now().Add(outage)
			for wait := 10 * time.Second; wait < 6*time.Minute; wait *= 2 { // as Vault does
				require.Error(t, b.engine.Leases.End(t.Context(), lease.RevocationID))
				require.Error(t, b.engine.Leases.CheckRenewable(t.Context(), lease.RevocationID))
				b.pass(wait)
			}
			require.ErrorContains(t, b.engine.Leases.End(t.Context(), lease.RevocationID), "vault lease revoke -force -prefix modal/creds/job")
			b.pass(time.Until(over) - time.Hour) // a negative time is none
			b.ticks(time.Until(over))
			require.Equal(t, 2, b.revocation(lease.RevocationID).Attempts, "one attempt by Vault without an answer of Modal, and one for the outage")
			require.Equal(t, model.StateRetrying, b.revocation(lease.RevocationID).State(time.Now()))
			b.modal.SetOutage(false)

			b.ticks(2 * time.Minute)

			require.Empty(t, b.modal.ServiceUsers(), outage)
			require.Empty(t, b.queueIDs())
		})
	}
}

// Vault tries six times. The first attempts are seconds apart.
func TestLease_IsRevokedByTheFirstAttemptAfterAnOutage(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{time.Second, 10 * time.Second} {
		h := newHarness(t)
		h.dynamic("job")
		lease := h.lease("job")
		h.modal.SetOutage(true)
		for range 3 {
			err := h.engine.Leases.End(t.Context(), lease.RevocationID)
			require.True(t, model.IsUpstream(err), err)
			h.advance(wait)
		}
		h.modal.SetOutage(false)
		require.NoError(t, h.engine.Leases.End(t.Context(), lease.RevocationID))
		require.False(t, h.alive(lease.Cred.ID))
		require.Empty(t, h.queueIDs())
	}
}

func TestLease_ThatNobodyRevokesIsEndedByTheRevocationQueue(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", func(ask *model.RoleWrite) { ask.Dynamic.MaxTTL, ask.Dynamic.TTL = to(2*time.Hour), to(time.Hour) })
	lease := h.lease("job")
	h.minutes(2*60 + 14)
	require.True(t, h.alive(lease.Cred.ID))
	h.minutes(3)
	require.False(t, h.alive(lease.Cred.ID))
	require.Empty(t, h.queueIDs())
}

func TestLease_CreatedDuringAClockJumpIsEndedByTheQueueInTime(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	made := h.leaseAtGate("job")
	h.ahead.Store(int64(40 * model.Day))
	lease := made()
	h.ahead.Store(0)

	h.minutes(27 * 60)

	require.False(t, h.alive(lease.Cred.ID))
	require.Empty(t, h.queueIDs())
}

func TestLease_BeingCreatedIsNotRevokedWithoutForce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	made := h.leaseAtGate("job")
	id := h.queueIDs()[0]

	require.ErrorContains(t, h.ending(id, false)(t.Context()), "force=true")

	require.True(t, h.alive(made().Cred.ID))
}

func TestLease_IsCappedByVaultAndByTheTokensExpiryWithAWarning(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", func(ask *model.RoleWrite) { ask.Dynamic.TTL = to(3 * time.Hour) })
	capped, err := h.engine.Leases.Create(t.Context(), LeaseRequest{Role: "job", VaultMax: 2 * time.Hour})
	require.NoError(t, err)
	require.Equal(t, 2*time.Hour, capped.TTL)
	require.Equal(t, 2*time.Hour, capped.Max)
	require.Len(t, capped.Warnings, 2)
	require.Equal(t, h.clock().Add(2*time.Hour+leaseMargin), capped.Expires)
}

func TestLease_TheLimitCountsConcurrentReads(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", func(ask *model.RoleWrite) { ask.Dynamic.MaxLeases = to(3) })
	var group sync.WaitGroup
	var mu sync.Mutex
	var leases []*Lease
	for range 12 {
		group.Go(func() {
			lease, err := h.engine.Leases.Create(context.WithoutCancel(t.Context()), LeaseRequest{Role: "job", VaultMax: vaultsMost})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				leases = append(leases, lease)
			} else if !model.IsUserError(err) {
				t.Errorf("lease: %v", err)
			}
		})
	}
	group.Wait()
	require.Len(t, leases, 3)
	require.Len(t, h.modal.ServiceUsers(), 3)
	_, err := h.engine.Leases.Create(t.Context(), LeaseRequest{Role: "job", VaultMax: vaultsMost})
	require.ErrorContains(t, err, "has 3 leases, and max_leases is 3: 3 running (to end all: vault lease revoke -prefix modal/creds/job; to end a single lease:")
	require.NoError(t, h.engine.Leases.End(t.Context(), leases[0].RevocationID))
	h.lease("job")
}

func TestLease_StillRunningIsNotRevokedWithoutForce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	_, err := h.engine.Revocations.End(t.Context(), lease.RevocationID, false)
	require.ErrorContains(t, err, "vault lease revoke -prefix modal/creds/job")
	ended, err := h.engine.Revocations.End(t.Context(), lease.RevocationID, true)
	require.NoError(t, err)
	require.True(t, ended.Revoked)
}

func TestLease_EndsOnlyAfterThePause(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	h.configure(model.ConfigWrite{Paused: to(true)})
	require.ErrorContains(t, h.engine.Leases.End(t.Context(), lease.RevocationID), "paused")
	h.minutes(3)
	require.True(t, h.alive(lease.Cred.ID))
	h.configure(model.ConfigWrite{Paused: to(false)})
	h.minutes(1)
	require.False(t, h.alive(lease.Cred.ID))
}

func TestLease_ItsTokenCannotBecomeARolesOrTheAdminToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	apiToken := lease.Cred.APIToken()
	for _, act := range []func() error{
		func() error {
			_, err := h.engine.Roles.Write(t.Context(), model.RoleWrite{Name: "ci", Type: to(model.TypeStatic), Supplied: model.Supplied{Token: &apiToken, Verify: true}, Force: true})
			return err
		},
		func() error {
			_, err := h.engine.Configs.RotateAdmin(t.Context(), model.AdminRotation{Supplied: model.Supplied{Token: &apiToken, Verify: true}, Force: true})
			return err
		},
	} {
		err := act()
		require.ErrorContains(t, err, "the engine deletes it when the lease ends")
		require.True(t, model.IsUserError(err))
	}

	_, err := h.engine.Roles.Write(t.Context(), model.RoleWrite{Name: "ci", Type: to(model.TypeStatic), Supplied: model.Supplied{Token: &apiToken}, Force: true})
	require.NoError(t, err, "an unverified token has no known owner, so the role takes it")
	require.ErrorContains(t, h.engine.Leases.End(t.Context(), lease.RevocationID), "replace it there first")
	_, err = h.engine.Revocations.End(t.Context(), lease.RevocationID, true)
	require.ErrorContains(t, err, "replace it there first")
	_, err = h.engine.Revocations.Remove(t.Context(), lease.RevocationID, true)
	require.ErrorContains(t, err, "replace it there first")
	require.True(t, h.alive(lease.Cred.ID), "the current token of a role must stay")
	h.rotate(model.RotateRequest{Role: "ci", Supplied: bringing(h.member.NewToken()), Force: true})
	h.minutes(2)
	require.False(t, h.alive(lease.Cred.ID))
	require.Nil(t, h.revocation(lease.RevocationID))
}

func TestLease_ThatModalAcceptsAfterItsDeletionIsNotReportedRevoked(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	h.modal.KeepDeletedFor(time.Hour)

	err := h.engine.Leases.End(t.Context(), lease.RevocationID)

	require.ErrorContains(t, err, "is not revoked yet")
	require.ErrorContains(t, err, "the engine keeps trying")
	require.NotNil(t, h.revocation(lease.RevocationID))
	h.modal.ClearFaults()
	h.hours(7)
	require.Empty(t, h.queueIDs())
}

func TestLease_ThatWaitsForItsEndIsNotRenewed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	h.configure(model.ConfigWrite{Paused: to(true)})
	require.Error(t, h.engine.Leases.End(t.Context(), lease.RevocationID))
	require.True(t, h.alive(lease.Cred.ID))

	require.ErrorContains(t, h.engine.Leases.CheckRenewable(t.Context(), lease.RevocationID), "its token has ended or is ending")
}

func TestLease_ForcedOrForgottenDuringItsCreationIsRefused(t *testing.T) {
	t.Parallel()
	for name, does := range map[string]func(h *harness, key string) act{
		"forced":    func(h *harness, key string) act { return h.ending(key, true) },
		"forgotten": func(h *harness, key string) act { return h.forgetting(key, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.dynamic("job")
			gate := h.gateAt("ServiceUserCreate")
			reads := h.begin(t.Context(), h.reading("job"))
			gate.await()
			require.NoError(t, does(h, h.queueIDs()[0])(t.Context()))

			gate.open()

			reads.isRefused("an operator ended service user")
			h.minutes(25)
			require.Empty(t, h.modal.ServiceUsers())
			require.Empty(t, h.queueIDs())
		})
	}
}
