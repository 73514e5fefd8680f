// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
)

func TestOrphans_StopAllDeletionsUntilAnOperatorDecides(t *testing.T) {
	t.Parallel()
	for _, accept := range []bool{false, true} {
		h := newHarness(t)
		old := h.managed("ci")
		h.rotate(model.RotateRequest{Role: "ci"})
		member := h.static("personal")
		h.rotate(model.RotateRequest{Role: "personal", Supplied: bringing(h.member.NewToken())})
		h.dynamic("job")
		lease := h.lease("job")
		stranger, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
		require.NoError(t, err)
		foreign, err := h.workspace.CreateServiceUser("vault-99999999-gpu-aaaaaaaa")
		require.NoError(t, err)
		h.minutes(25 * 60)

		require.True(t, h.alive(old))
		require.True(t, h.accepts(member))
		require.ErrorContains(t, h.engine.Leases.End(t.Context(), lease.RevocationID), "the mount is out of sync")
		require.Equal(t, 1, count(h.recorded.events(), model.EventOutOfSync))
		status, err := h.engine.Statuses.Read(t.Context())
		require.NoError(t, err)
		require.True(t, status.OutOfSync)
		orphans, err := h.engine.Orphans.List(t.Context())
		require.NoError(t, err)
		require.Len(t, orphans, 1)
		before := h.snapshot()
		dry, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{DryRun: true})
		require.NoError(t, err)
		require.Equal(t, []string{"vault-2f9f1a7c-gpu-aaaaaaaa"}, dry.Chosen)
		h.unchangedSince(before)
		_, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{Names: []string{"vault-99999999-gpu-aaaaaaaa"}})
		require.ErrorContains(t, err, "is not an orphan of this mount")

		done, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{Accept: accept})
		require.NoError(t, err)

		require.False(t, done.OutOfSync)
		require.Equal(t, accept, h.accepts(stranger))
		h.minutes(6*60 + 2)
		require.False(t, h.alive(old))
		require.False(t, h.accepts(member))
		require.False(t, h.alive(lease.Cred.ID))
		require.True(t, h.accepts(foreign), "another mount's")
		if accept {
			h.modal.DeleteToken(stranger.ID) // the harness would report the service user as a leak
		}
		h.modal.DeleteToken(foreign.ID)
	}
}

func TestOrphans_ATokenThatAnOperatorForcedEndsOnceModalAnswers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	orphan, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	h.minutes(60)
	id := h.queueIDs()[0]
	h.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	done, err := h.engine.Revocations.End(t.Context(), id, true)
	require.NoError(t, err)
	require.False(t, done.Revoked)
	h.restart()
	h.modal.ClearFaults()

	h.minutes(10)

	require.False(t, h.alive(old), "an operator ordered it")
	require.True(t, h.accepts(orphan))
	out, err := h.engine.Mount.IsOutOfSync(t.Context())
	require.NoError(t, err)
	require.True(t, out)
	h.modal.DeleteToken(orphan.ID)
}

func TestOrphans_RecentOnesAreIgnoredAndWithoutAListNothingEnds(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	recent, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	h.minutes(5)
	orphans, err := h.engine.Orphans.List(t.Context())
	require.NoError(t, err)
	require.Len(t, orphans, 1)
	require.Equal(t, 5*time.Minute, orphans[0].Age)
	require.NotContains(t, h.recorded.events(), model.EventOutOfSync, "the service user is younger than ten minutes")
	h.modal.DeleteToken(recent.ID)
	h.modal.Inject("ServiceUserList", modaltest.Fault{Code: 14, Times: -1})
	h.advance(25 * time.Hour)
	h.minutes(3)
	require.True(t, h.alive(old))
	require.Contains(t, h.revocation(old).LastError, "Modal does not list them")
	h.modal.ClearFaults()
	h.minutes(1)
	require.False(t, h.alive(old))
}

func TestOrphans_StopANodeWithASlowClockToo(t *testing.T) {
	t.Parallel()
	for _, behind := range []time.Duration{15 * time.Minute, 7 * time.Hour, 40 * model.Day} {
		h := newHarness(t)
		old := h.managed("ci")
		h.rotate(model.RotateRequest{Role: "ci"})
		h.advance(behind)
		stranger, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
		require.NoError(t, err)
		h.advance(-behind)
		require.NoError(t, h.engine.Guard.Compare(t.Context()))
		orphans, err := h.engine.Orphans.List(t.Context())
		require.NoError(t, err)
		require.Len(t, orphans, 1)

		h.minutes(25 * 60)

		require.True(t, h.alive(old), "the mount must stay out of sync")
		require.Equal(t, 1, count(h.recorded.events(), model.EventOutOfSync))
		require.NotContains(t, h.recorded.lines(), "in sync again")
		_, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})
		require.NoError(t, err)
		require.False(t, h.accepts(stranger))
		h.minutes(1)
		require.False(t, h.alive(old))
	}
}

func TestOrphans_ATokenForgottenByForceIsAccepted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	old := h.current("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	h.forget(old.ID)
	h.managed("other")
	h.rotate(model.RotateRequest{Role: "other"})
	h.minutes(25 * 60)
	require.NotContains(t, h.recorded.events(), model.EventOutOfSync)
	require.True(t, h.alive(old.ID))
	orphans, err := h.engine.Orphans.List(t.Context())
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(orphans, func(o revocation.Orphan) bool { return o.Name == old.Identity && o.Accepted }))
	_, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{Names: []string{old.Identity}})
	require.NoError(t, err)
	require.False(t, h.alive(old.ID), "an operator who names an accepted orphan must be able to delete it")
}

func TestOrphans_TheMountStaysOutOfSyncWhileModalDoesNotList(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.ResourceExhausted, codes.PermissionDenied, codes.Unauthenticated} {
		h := newHarness(t)
		member := h.static("personal")
		next := h.member.NewToken()
		h.rotate(model.RotateRequest{Role: "personal", Supplied: bringing(next)})
		_, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
		require.NoError(t, err)
		h.advance(25 * time.Hour)
		h.tick()
		require.True(t, h.accepts(member), "a mount that is out of sync must delete nothing")
		h.modal.Inject("ServiceUserList", modaltest.Fault{Code: code, Times: -1})
		h.minutes(10)
		require.True(t, h.accepts(member), code)
		outOfSync, err := h.engine.Mount.IsOutOfSync(t.Context())
		require.NoError(t, err)
		require.True(t, outOfSync, code)
		h.modal.ClearFaults()
		_, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})
		require.NoError(t, err)
		h.minutes(10)
		require.False(t, h.accepts(member), code)
	}
}

func TestOrphans_AnExpiredManualTokenLeavesTheMountInSync(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	robot, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa", modaltest.ExpiresAt(h.clock().Add(48*time.Hour)))
	require.NoError(t, err)
	first := staticRole("personal", robot)
	first.Force = true
	h.write(first)
	h.rotate(model.RotateRequest{Role: "personal", Supplied: bringing(h.member.NewToken()), Force: true})
	require.Equal(t, model.MethodManual, h.revocation(robot.ID).Method)

	h.minutes(60 * 60)

	require.NotContains(t, h.queueIDs(), robot.ID, "Modal rejects the token, so its revocation is complete")
	outOfSync, err := h.engine.Mount.IsOutOfSync(t.Context())
	require.NoError(t, err)
	require.False(t, outOfSync)
	require.NoError(t, h.engine.Guard.Compare(t.Context()))
	require.NoError(t, h.engine.Guard.CheckDeletion(t.Context()))
	_, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{Names: []string{"vault-2f9f1a7c-gpu-aaaaaaaa"}})
	require.NoError(t, err)
}

func TestOrphans_StayAcceptedAfterAnAdminTokenThatDoesNotSeeThem(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	accepted, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	h.advance(time.Hour)
	_, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{Accept: true})
	require.NoError(t, err)
	other, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-bbbbbbbb")
	require.NoError(t, err)
	h.advance(time.Hour)
	require.NoError(t, h.engine.Guard.Compare(t.Context()))
	h.modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.PermissionDenied, Times: 1})
	require.NoError(t, h.engine.Guard.Compare(t.Context()))

	done, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})

	require.NoError(t, err)
	require.Equal(t, []string{"vault-2f9f1a7c-gpu-bbbbbbbb"}, done.Ended)
	require.False(t, h.accepts(other))
	require.True(t, h.accepts(accepted))
	h.modal.DeleteToken(accepted.ID)
}

func TestOrphans_StayAcceptedWhenAnotherOneIsAccepted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	var accepted []modaltest.Token
	for _, name := range []string{"vault-2f9f1a7c-gpu-aaaaaaaa", "vault-2f9f1a7c-gpu-bbbbbbbb"} {
		orphan, err := h.workspace.CreateServiceUser(name)
		require.NoError(t, err)
		accepted = append(accepted, orphan)
		h.advance(time.Hour)
		_, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{Accept: true})
		require.NoError(t, err)
	}

	done, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})

	require.NoError(t, err)
	require.Empty(t, done.Chosen)
	require.False(t, done.OutOfSync)
	for _, orphan := range accepted {
		require.True(t, h.accepts(orphan))
		h.modal.DeleteToken(orphan.ID)
	}
}

func TestOrphans_AnUnverifiedTokenOfARoleOrTheQueueIsNone(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	kept, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	replaced, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-bbbbbbbb")
	require.NoError(t, err)
	h.write(model.RoleWrite{Name: "gpu", Type: to(model.TypeStatic), Supplied: unverified(replaced)})
	h.rotate(model.RotateRequest{Role: "gpu", Supplied: unverified(kept), Force: true})
	h.advance(time.Hour)

	orphans, err := h.engine.Orphans.List(t.Context())

	require.NoError(t, err)
	require.Empty(t, orphans)
}
