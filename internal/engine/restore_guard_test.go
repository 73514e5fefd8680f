// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
)

func TestOrphans_ALeaseThatEndsDuringTheComparisonIsNone(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	h.advance(30 * time.Minute)
	require.NoError(t, h.engine.Guard.Compare(t.Context()))
	gate := h.gateAt("ServiceUserDelete")
	ends := h.begin(t.Context(), func(ctx context.Context) error { return h.engine.Leases.End(ctx, lease.RevocationID) })
	gate.await()
	h.modal.Inject("ServiceUserList", modaltest.Fault{Mangle: func(proto.Message) {
		gate.open()
		ends.succeeds()
	}})

	require.NoError(t, h.engine.Guard.Compare(t.Context()))

	require.NotContains(t, h.recorded.events(), model.EventOutOfSync)
	outOfSync, err := h.engine.Mount.IsOutOfSync(t.Context())
	require.NoError(t, err)
	require.False(t, outOfSync)
}

func TestOrphans_ACallerWaitingForAnotherComparisonMayLeave(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	first, second := h.lease("job"), h.lease("job")
	gate := h.gateAt("ServiceUserList")
	ending := func(id string) act {
		return func(ctx context.Context) error { return h.engine.Leases.End(ctx, id) }
	}
	compares := h.begin(t.Context(), ending(first.RevocationID))
	gate.await()
	ctx, leave := context.WithCancel(t.Context())
	waits := h.begin(ctx, ending(second.RevocationID))
	require.Eventually(t, func() bool { return !h.revocation(second.RevocationID).NotBefore.After(h.clock()) }, patience, time.Millisecond)
	leave()

	require.ErrorIs(t, waits.answer(), context.Canceled)
	gate.open()
	compares.succeeds()
	require.NoError(t, h.engine.Leases.End(t.Context(), second.RevocationID))
}

func TestOrphans_AnUnreadableRevocationIsNoneAndStopsNoOther(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	broken := h.current("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	old := h.managed("other")
	h.rotate(model.RotateRequest{Role: "other"})
	h.dynamic("job")
	lease := h.lease("job")
	require.NoError(t, h.storage.Put(t.Context(), &logical.StorageEntry{Key: "revocation/" + broken.ID, Value: []byte("{")}))
	h.restart()

	require.NoError(t, h.engine.Leases.End(t.Context(), lease.RevocationID))
	h.advance(25 * time.Hour)
	h.minutes(3)

	require.False(t, h.alive(old))
	require.True(t, h.alive(broken.ID))
	orphans, err := h.engine.Orphans.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, orphans)
	require.NoError(t, h.storage.Delete(t.Context(), "revocation/"+broken.ID))
	h.modal.DeleteToken(broken.ID)
}

func TestGuard_ComparesWithANewAdminTokenBeforeALeaseEnds(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	_, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	h.advance(11 * time.Minute)
	h.modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.Unauthenticated, Times: 1})
	require.NoError(t, h.engine.Guard.Compare(t.Context()), "a comparison without an answer must find no orphans")

	h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})

	require.ErrorContains(t, h.engine.Leases.End(t.Context(), lease.RevocationID), "out of sync")
	require.True(t, h.alive(lease.Cred.ID))
	_, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})
	require.NoError(t, err)
}

func TestGuard_AnUnreadableCredentialBlocksRevocationsAndSaysSo(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("broken")
	old := h.managed("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	whole, err := h.storage.Get(t.Context(), "cred/broken")
	require.NoError(t, err)
	require.NoError(t, h.storage.Put(t.Context(), &logical.StorageEntry{Key: "cred/broken", Value: []byte("{")}))
	h.restart()
	h.advance(25 * time.Hour)

	require.ErrorContains(t, h.engine.Worker.Tick(t.Context()), "a role's token cannot be read")

	require.True(t, h.alive(old))
	require.NoError(t, h.storage.Put(t.Context(), whole))
	h.restart()
	h.minutes(1)
	require.False(t, h.alive(old))
}
