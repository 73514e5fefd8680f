// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
)

// stranger creates a service user of this mount that Vault does not track.
func (h *harness) stranger(name string) modaltest.Token {
	h.t.Helper()
	orphan, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-" + name)
	require.NoError(h.t, err)
	return orphan
}

func (h *harness) outOfSync() bool {
	h.t.Helper()
	out, err := h.engine.Mount.IsOutOfSync(h.t.Context())
	require.NoError(h.t, err)
	return out
}

func TestGuard_DeletesNoServiceUserWhileTheListFailsForAMoment(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.ResourceExhausted, codes.PermissionDenied, codes.Unauthenticated, codes.Internal} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			old := h.managed("ci")
			h.rotate(model.RotateRequest{Role: "ci"})
			member := h.static("personal")
			h.rotate(model.RotateRequest{Role: "personal", Supplied: bringing(h.member.NewToken())})
			h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.Internal, Times: -1})
			h.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
			_, err := h.engine.Rotations.Rotate(t.Context(), model.RotateRequest{Role: "ci"})
			require.Error(t, err)
			h.modal.ClearFaults()
			h.advance(25 * time.Hour)
			require.Len(t, h.modal.ServiceUsers(), 3, "the current token, the previous token and the token of the failed rotation")
			h.modal.Inject("ServiceUserList", modaltest.Fault{Code: code, Times: -1})

			h.minutes(3)

			require.Len(t, h.modal.ServiceUsers(), 3)
			require.True(t, h.alive(old))
			require.False(t, h.accepts(member), "a member token is no service user")
			h.modal.ClearFaults()
			h.hours(2)
			require.Len(t, h.modal.ServiceUsers(), 1)
		})
	}
}

func TestGuard_AFailedSecondListIsNoComparison(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	h.stranger("ci-abcdefgh")
	h.advance(25 * time.Hour)
	lists := 0
	h.modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.PermissionDenied, Times: -1, Match: func(modaltest.Call) bool { lists++; return lists > 1 }})

	h.minutes(1)

	require.Greater(t, lists, 1)
	require.True(t, h.alive(old), "only two lists together tell that there is no orphan")
	h.modal.ClearFaults()
	h.hours(2)
	require.Contains(t, h.recorded.events(), "modal/out-of-sync")
	require.True(t, h.alive(old))
}

func TestGuard_ALeaseEndsWithoutAListOnlyWhereModalHasNone(t *testing.T) {
	t.Parallel()
	for code, ends := range map[codes.Code]bool{codes.FailedPrecondition: true, codes.Unimplemented: true, codes.PermissionDenied: false, codes.Unauthenticated: false} {
		h := newHarness(t)
		h.dynamic("job")
		lease := h.lease("job")
		h.modal.Inject("ServiceUserList", modaltest.Fault{Code: code})
		require.Equal(t, ends, h.engine.Leases.End(t.Context(), lease.RevocationID) == nil, code)
		require.Equal(t, !ends, h.alive(lease.Cred.ID), code)
	}
}

func TestGuard_ComparesAgainBeforeALeaseEndsAfterAMinute(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	first, second := h.lease("job"), h.lease("job")
	h.stranger("gpu-aaaaaaaa")
	h.advance(8 * time.Minute)
	require.NoError(t, h.engine.Leases.End(t.Context(), first.RevocationID))
	h.advance(3 * time.Minute)

	require.ErrorContains(t, h.engine.Leases.End(t.Context(), second.RevocationID), "out of sync")

	require.True(t, h.alive(second.Cred.ID))
	_, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})
	require.NoError(t, err)
}

func TestGuard_ComparesWithANewAdminTokenAfterOneThatCannotList(t *testing.T) {
	t.Parallel()
	for _, tick := range []bool{false, true} {
		h := newHarness(t)
		h.dynamic("job")
		lease := h.lease("job")
		h.stranger("gpu-aaaaaaaa")
		h.advance(11 * time.Minute)
		h.modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.FailedPrecondition, Times: 1})
		require.NoError(t, h.engine.Guard.Compare(t.Context()))
		require.False(t, h.outOfSync())

		h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})

		if tick { // nothing is due
			h.tick()
		} else {
			require.ErrorContains(t, h.engine.Leases.End(t.Context(), lease.RevocationID), "out of sync")
		}
		require.True(t, h.outOfSync())
		require.True(t, h.alive(lease.Cred.ID))
		_, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})
		require.NoError(t, err)
	}
}

func TestOutOfSync_DoesNotEndWhileANewUnknownServiceUserExists(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	first := h.stranger("gpu-aaaaaaaa")
	h.minutes(12)
	require.True(t, h.outOfSync())
	h.modal.DeleteToken(first.ID)
	second := h.stranger("gpu-bbbbbbbb")

	require.NoError(t, h.engine.Guard.Compare(t.Context()))

	require.True(t, h.outOfSync())
	h.modal.DeleteToken(second.ID)
	require.NoError(t, h.engine.Guard.Compare(t.Context()))
	require.False(t, h.outOfSync())
}

func TestOutOfSync_AcceptedWithoutAListIsComparedOnceAListArrives(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	accepted := h.stranger("gpu-aaaaaaaa")
	h.minutes(12)
	_, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{Accept: true})
	require.NoError(t, err)
	other := h.stranger("gpu-bbbbbbbb")
	h.advance(12 * time.Minute)
	require.NoError(t, h.engine.Guard.Compare(t.Context()))
	require.True(t, h.outOfSync())
	h.modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.FailedPrecondition, Times: -1})
	before := h.snapshot()
	for _, ask := range []revocation.CleanupRequest{{Accept: true, DryRun: true}, {Accept: true, Names: []string{"vault-2f9f1a7c-gpu-bbbbbbbb"}}} {
		_, err = h.engine.Orphans.Cleanup(t.Context(), ask)
		require.Error(t, err, "only an accept of all orphans ends the state without a list")
		h.unchangedSince(before)
	}
	done, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{Accept: true})
	require.NoError(t, err)
	require.NotEmpty(t, done.NotCompared)
	require.False(t, h.outOfSync())
	h.modal.ClearFaults()

	h.tick() // nothing is due

	require.True(t, h.outOfSync())
	done, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{"vault-2f9f1a7c-gpu-bbbbbbbb"}, done.Ended)
	require.False(t, h.accepts(other))
	require.True(t, h.accepts(accepted), "an orphan that was accepted before must stay accepted")
	h.modal.DeleteToken(accepted.ID)
}

func TestOrphans_ThatModalDoesNotDeleteYetAreReportedAsLeft(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	h.stranger("gpu-aaaaaaaa")
	h.minutes(12)
	h.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})

	done, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})

	require.NoError(t, err)
	require.Empty(t, done.Ended)
	require.Equal(t, []string{"vault-2f9f1a7c-gpu-aaaaaaaa"}, done.Left)
	h.modal.ClearFaults()
	h.minutes(10)
	require.Empty(t, h.queueIDs())
	require.Len(t, h.modal.ServiceUsers(), 1)
}

func TestOrphans_ACandidateIsOneOnlyIfItIsUsedAfterTwoMinutes(t *testing.T) {
	t.Parallel()
	for after, orphan := range map[time.Duration]bool{time.Minute: false, 2 * time.Minute: false, 2*time.Minute + time.Second: true} {
		for _, started := range []bool{false, true} {
			h := newHarness(t)
			h.managed("ci")
			h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.Internal, Times: -1})
			h.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
			_, err := h.engine.Rotations.Rotate(t.Context(), model.RotateRequest{Role: "ci"})
			require.Error(t, err)
			h.modal.ClearFaults()
			candidate := *h.revocation(h.queueIDs()[0])
			candidate.DeletionStarted = started
			require.NoError(t, h.engine.Mount.Revocations.Put(t.Context(), candidate.Key(), &candidate))
			created := h.modal.ServiceUsers()[1].Created
			h.advance(created.Add(after).Sub(h.clock()))
			require.True(t, h.modal.Use(candidate.ID, candidate.Secret))

			orphans, err := h.engine.Orphans.List(t.Context())

			require.NoError(t, err)
			require.Equal(t, orphan && !started, len(orphans) == 1, "the engine itself uses a token whose deletion has started")
		}
	}
}

func TestGuard_AComparisonCountsOnlyForTheConfigThatItAskedWith(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]bool{"config changes after the list": false, "config changes during the list": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.dynamic("job")
			lease := h.lease("job")
			h.stranger("gpu-aaaaaaaa")
			h.advance(11 * time.Minute)
			elsewhere := h.modal.AddWorkspace("initech").AddMember("mallory")
			h.configure(model.ConfigWrite{Supplied: bringing(elsewhere.NewToken()), Force: true})
			back := model.ConfigWrite{Supplied: bringing(h.member.NewToken()), Force: true}
			gate := h.gateAt("ServiceUserList")
			compares := h.begin(t.Context(), h.engine.Guard.Compare)
			gate.await()
			if meanwhile {
				h.modal.OnCall(nil)
				h.configure(back)
			}
			gate.open()
			compares.succeeds()
			if !meanwhile {
				h.configure(back)
			}
			require.False(t, h.outOfSync(), "the other workspace has no orphan")

			require.ErrorContains(t, h.engine.Leases.End(t.Context(), lease.RevocationID), "out of sync")

			require.True(t, h.alive(lease.Cred.ID))
			_, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})
			require.NoError(t, err)
		})
	}
}

// A tick processes the revocation queue while it verifies the admin token.
func TestGuard_ComparesAgainIfTheAdminTokenBecomesUsableDuringATick(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]modaltest.Fault{"the list arrives": {}, "the list fails": {Code: codes.Unavailable, Times: -1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			worker, old := h.engine.Worker, h.managed("ci")
			h.rotate(model.RotateRequest{Role: "ci"})
			h.stranger("ci-abcdefgh")
			h.advance(25 * time.Hour)
			h.modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
			require.NoError(t, worker.verifier.verifyAdmin(t.Context()))
			h.advance(time.Hour)
			require.NoError(t, worker.guard.Compare(t.Context()), "no admin token lists the service users")
			h.modal.ClearFaults()
			require.NoError(t, worker.verifier.verifyAdmin(t.Context()))
			if list.Code != codes.OK {
				h.modal.Inject("ServiceUserList", list)
			}

			_, _, err := worker.revoker.Process(t.Context(), t.Context(), old, revocation.WhenDue)

			require.NoError(t, err)
			require.True(t, h.alive(old), "no list was compared with storage")
			require.Equal(t, list.Code == codes.OK, h.outOfSync())
		})
	}
}

// forgetful is storage that carries out a delete of a revocation and reports a failure, once.
type forgetful struct {
	logical.Storage

	armed bool
}

func (s *forgetful) Delete(ctx context.Context, key string) error {
	err := s.Storage.Delete(ctx, key)
	if s.armed && strings.HasPrefix(key, "revocation/") {
		s.armed = false
		return errors.New("no answer")
	}
	return err
}

func TestOutOfSync_IsNotRaisedByADeletionWhoseLastAnswerWasLost(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	h.advance(time.Hour) // a new service user would be no orphan yet
	disk := &forgetful{Storage: h.storage}
	h.restartOver(disk)
	none := time.Duration(0)
	h.rotate(model.RotateRequest{Role: "ci", Grace: &none})
	h.modal.LagServiceUserList(5 * time.Minute)
	disk.armed = true
	_ = h.engine.Worker.Tick(t.Context())
	require.False(t, disk.armed)
	h.dynamic("job")
	lease := h.lease("job")
	h.advance(2 * time.Minute) // the engine compares again, and the list is still old

	require.NoError(t, h.engine.Leases.End(t.Context(), lease.RevocationID))

	require.False(t, h.outOfSync())
}
