// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

func TestMaxLeases_CountTokensUntilModalRejectsThem(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]func(h *harness){
		"Modal acknowledged the deletion and still accepts the token": func(h *harness) {
			h.modal.KeepDeletedFor(time.Hour)
			require.Error(h.t, h.engine.Leases.End(h.t.Context(), h.lease("job").RevocationID))
		},
		"Modal still accepts the token of a failed creation": func(h *harness) {
			h.modal.KeepDeletedFor(time.Hour)
			h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied})
			require.Error(h.t, h.reading("job")(h.t.Context()))
		},
		"an operator forced it, and Modal does not answer": func(h *harness) {
			lease := h.lease("job")
			h.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
			require.NoError(h.t, h.ending(lease.RevocationID, true)(h.t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.dynamic("job", atMostLeases(1))
			ends(h)
			require.Len(t, h.queueIDs(), 1)

			require.ErrorContains(t, h.reading("job")(t.Context()), "role job has 1 leases, and max_leases is 1")

			h.modal.ClearFaults()
			h.hours(7)
			h.lease("job")
		})
	}
}

func TestMaxLeases_LoweredWhileAReadWaitsHoldsForThisRead(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", atMostLeases(2))
	h.lease("job")
	leave := h.lockRole("job")
	lowers := h.begin(t.Context(), h.writing(model.RoleWrite{Name: "job", Dynamic: model.DynamicWrite{MaxLeases: to(1)}}))
	h.awaitLockUsers("job", 2)
	reads := h.begin(t.Context(), h.reading("job"))
	h.awaitLockUsers("job", 3)

	leave()

	lowers.succeeds()
	reads.isRefused("was changed or deleted during this read")
	require.Len(t, h.modal.ServiceUsers(), 1)
}

// slowRevocations is storage that takes a second to store a revocation.
type slowRevocations struct{ logical.Storage }

func (s slowRevocations) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if strings.HasPrefix(entry.Key, "revocation/") {
		<-time.After(time.Second)
	}
	return s.Storage.Put(ctx, entry)
}

func TestMaxLeases_HoldForConcurrentReadsAlsoWithSlowStorage(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		b.dynamic("job", atMostLeases(1))
		b.disk.Storage = slowRevocations{b.storage}
		first := b.harness.begin(t.Context(), b.reading("job"))
		b.pass(time.Millisecond)
		second := b.harness.begin(t.Context(), b.reading("job"))
		second.isRefused("max_leases is 1")
		first.succeeds()
		require.Len(t, b.modal.ServiceUsers(), 1)
	})
}
