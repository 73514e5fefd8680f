// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

const vaultsMost = 32 * Day

// dynamic makes a dynamic role of environment main.
func (h *harness) dynamic(name string, change ...func(*RoleWrite)) {
	h.t.Helper()
	ask := RoleWrite{Name: name, Kind: to(TypeDynamic), Access: AccessWrite{
		EnvironmentRoles: to(map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor}),
	}}
	for _, change := range change {
		change(&ask)
	}
	h.write(ask)
}

func (h *harness) lease(name string) *Lease {
	h.t.Helper()
	lease, err := h.engine.NewLease(h.t.Context(), name, vaultsMost)
	require.NoError(h.t, err)
	return lease
}

// leaseAtGate begins to make a lease and stops before the token is proven; made lets it go on.
func (h *harness) leaseAtGate(name string) (made func() *Lease) {
	h.t.Helper()
	gate := h.gateAt("TokenInfoGet")
	var lease *Lease
	reads := h.begin(h.t.Context(), func(ctx context.Context) (err error) {
		lease, err = h.engine.NewLease(ctx, name, vaultsMost)
		return err
	})
	gate.await()
	return func() *Lease {
		gate.open()
		reads.succeeds()
		return lease
	}
}

func TestLease_GivesATokenOfItsOwnThatDiesWithIt(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	first, second := h.lease("job"), h.lease("job")
	require.NotEqual(t, first.Cred.ID, second.Cred.ID)
	require.Equal(t, time.Hour, first.TTL)
	require.Equal(t, Day, first.Max)
	require.Equal(t, map[string]string{"main": "contributor"}, h.rolesOf(first.Cred.ID))
	require.Equal(t, StateLeased, h.entry(first.Entry).State(h.clock()))
	require.Equal(t, h.clock().Add(Day+leaseMargin), h.entry(first.Entry).NotBefore)
	require.Equal(t, h.clock().Add(Day+leaseMargin), first.Expires, "it expires at Modal, should all else fail")
	require.NoError(t, h.engine.Renewable(t.Context(), first.Entry))

	require.NoError(t, h.engine.EndLease(t.Context(), first.Entry))

	require.False(t, h.alive(first.Cred.ID))
	require.True(t, h.alive(second.Cred.ID))
	require.Nil(t, h.entry(first.Entry))
	require.NoError(t, h.engine.EndLease(t.Context(), first.Entry), "once more is no error")
	require.Error(t, h.engine.Renewable(t.Context(), first.Entry))
}

func TestLease_EndsAlsoWhenItsRoleIsGoneOrAnotherAdminTokenIsThere(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	first, second := h.lease("job"), h.lease("job")
	done, err := h.engine.DeleteRole(t.Context(), "job", false)
	require.NoError(t, err)
	require.Contains(t, done.Tokens[0], "of a lease: works until")
	require.True(t, h.alive(first.Cred.ID), "leases stay until they end")
	require.NoError(t, h.engine.EndLease(t.Context(), first.Entry))
	h.configure(ConfigWrite{Supplied: bringing(h.member.NewToken())})
	require.NoError(t, h.engine.EndLease(t.Context(), second.Entry))
	require.Empty(t, h.modal.ServiceUsers())
}

func TestLease_OfARoleDeletedByForceEndsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	h.lease("job")
	h.lease("job")
	_, err := h.engine.DeleteRole(t.Context(), "job", true)
	require.NoError(t, err)
	require.Empty(t, h.modal.ServiceUsers())
	require.Empty(t, h.ledger())
}

// Vault's tries come at its own times, the first ones while a look at Modal's list still counts.
func TestLease_ThatCannotBeEndedInAnOutageIsAnErrorAndEndsTwoTicksAfterIt(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{12 * time.Minute, 13 * time.Hour} {
		inBubble(t, func(b *bubble) {
			t := b.t
			b.configure(ConfigWrite{Supplied: bringing(b.member.NewToken())})
			b.dynamic("job")
			first, lease := b.lease("job"), b.lease("job")
			require.NoError(t, b.engine.EndLease(t.Context(), first.Entry))
			b.modal.SetOutage(true)
			over := time.Now().Add(outage)
			for wait := 10 * time.Second; wait < 6*time.Minute; wait *= 2 { // as Vault does
				require.Error(t, b.engine.EndLease(t.Context(), lease.Entry))
				require.Error(t, b.engine.Renewable(t.Context(), lease.Entry))
				b.pass(wait)
			}
			require.ErrorContains(t, b.engine.EndLease(t.Context(), lease.Entry), "vault lease revoke -force -prefix modal/creds/job")
			b.ticks(time.Until(over))
			require.Equal(t, 2, b.entry(lease.Entry).Attempts, "a try of Vault's that Modal did not answer, and the outage")
			require.Equal(t, StateRetrying, b.entry(lease.Entry).State(time.Now()))
			b.modal.SetOutage(false)

			b.ticks(2 * time.Minute)

			require.Empty(t, b.modal.ServiceUsers(), outage)
			require.Empty(t, b.ledger())
		})
	}
}

// Vault tries six times, the first ones seconds apart.
func TestLease_IsEndedByTheFirstTryAfterAnOutage(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{time.Second, 10 * time.Second} {
		h := newHarness(t)
		h.dynamic("job")
		lease := h.lease("job")
		h.modal.SetOutage(true)
		for range 3 {
			err := h.engine.EndLease(t.Context(), lease.Entry)
			require.True(t, IsModals(err), err)
			h.advance(wait)
		}
		h.modal.SetOutage(false)
		require.NoError(t, h.engine.EndLease(t.Context(), lease.Entry))
		require.False(t, h.alive(lease.Cred.ID))
		require.Empty(t, h.ledger())
	}
}

func TestLease_ThatNobodyEndsIsEndedByTheLedger(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", func(ask *RoleWrite) { ask.Dynamic.MaxTTL, ask.Dynamic.TTL = to(2*time.Hour), to(time.Hour) })
	lease := h.lease("job")
	h.minutes(2*60 + 14)
	require.True(t, h.alive(lease.Cred.ID))
	h.minutes(3)
	require.False(t, h.alive(lease.Cred.ID))
	require.Empty(t, h.ledger())
}

func TestLease_WhoseClockJumpedAheadWhileItWasMadeIsEndedByTheLedgerInItsTime(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	made := h.leaseAtGate("job")
	h.ahead.Store(int64(40 * Day))
	lease := made()
	h.ahead.Store(0)

	h.minutes(27 * 60)

	require.False(t, h.alive(lease.Cred.ID))
	require.Empty(t, h.ledger())
}

func TestLease_ThatIsBeingMadeIsNotEndedByAnOperatorWhoOnlyAsks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	made := h.leaseAtGate("job")
	id := h.ledger()[0]

	require.ErrorContains(t, h.ending(id, false)(t.Context()), "force=true")

	require.True(t, h.alive(made().Cred.ID))
}

func TestLease_IsCappedByVaultAndByTheTokensRealExpiryWithAWarning(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", func(ask *RoleWrite) { ask.Dynamic.TTL = to(3 * time.Hour) })
	capped, err := h.engine.NewLease(t.Context(), "job", 2*time.Hour)
	require.NoError(t, err)
	require.Equal(t, 2*time.Hour, capped.TTL)
	require.Equal(t, 2*time.Hour, capped.Max)
	require.Len(t, capped.Warnings, 2)
	require.Equal(t, h.clock().Add(2*time.Hour+leaseMargin), capped.Expires)
}

func TestLease_LimitHoldsHoweverManyAskAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", func(ask *RoleWrite) { ask.Dynamic.MaxLeases = to(3) })
	var group sync.WaitGroup
	var mu sync.Mutex
	var leases []*Lease
	for range 12 {
		group.Go(func() {
			lease, err := h.engine.NewLease(context.WithoutCancel(t.Context()), "job", vaultsMost)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				leases = append(leases, lease)
			} else if !IsMistake(err) {
				t.Errorf("lease: %v", err)
			}
		})
	}
	group.Wait()
	require.Len(t, leases, 3)
	require.Len(t, h.modal.ServiceUsers(), 3)
	_, err := h.engine.NewLease(t.Context(), "job", vaultsMost)
	require.ErrorContains(t, err, "has 3 leases, and max_leases is 3: 3 running (end all with: vault lease revoke -prefix modal/creds/job, or one with:")
	require.NoError(t, h.engine.EndLease(t.Context(), leases[0].Entry))
	h.lease("job")
}

func TestLease_IsRefusedWithinItsTimeToWhoOnlyAsksTheLedger(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	_, err := h.engine.End(t.Context(), lease.Entry, false)
	require.ErrorContains(t, err, "vault lease revoke -prefix modal/creds/job")
	ended, err := h.engine.End(t.Context(), lease.Entry, true)
	require.NoError(t, err)
	require.True(t, ended.Revoked)
}

func TestLease_IsNotEndedWhilePausedAndIsAfterwards(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	h.configure(ConfigWrite{Paused: to(true)})
	require.ErrorContains(t, h.engine.EndLease(t.Context(), lease.Entry), "paused")
	h.minutes(3)
	require.True(t, h.alive(lease.Cred.ID))
	h.configure(ConfigWrite{Paused: to(false)})
	h.minutes(1)
	require.False(t, h.alive(lease.Cred.ID))
}

func TestLease_ItsTokenIsNoRolesAndNotTheAdmins(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	pair := lease.Cred.pair()
	for _, act := range []func() error{
		func() error {
			_, err := h.engine.WriteRole(t.Context(), RoleWrite{Name: "ci", Kind: to(TypeStatic), Supplied: Supplied{Pair: &pair, Verify: true}, Force: true})
			return err
		},
		func() error {
			_, err := h.engine.RotateAdmin(t.Context(), AdminRotation{Supplied: Supplied{Pair: &pair, Verify: true}, Force: true})
			return err
		},
	} {
		err := act()
		require.ErrorContains(t, err, "the engine ends it with its lease")
		require.True(t, IsMistake(err))
	}

	_, err := h.engine.WriteRole(t.Context(), RoleWrite{Name: "ci", Kind: to(TypeStatic), Supplied: Supplied{Pair: &pair}, Force: true})
	require.NoError(t, err, "unproven, nobody knows whose it is")
	require.ErrorContains(t, h.engine.EndLease(t.Context(), lease.Entry), "which uses it")
	_, err = h.engine.End(t.Context(), lease.Entry, true)
	require.ErrorContains(t, err, "which uses it")
	_, err = h.engine.Forget(t.Context(), lease.Entry, true)
	require.ErrorContains(t, err, "which uses it")
	require.True(t, h.alive(lease.Cred.ID), "a role has it")
	h.rotate(RotateRequest{Role: "ci", Supplied: bringing(h.member.NewToken()), Force: true})
	h.minutes(2)
	require.False(t, h.alive(lease.Cred.ID))
	require.Nil(t, h.entry(lease.Entry))
}
