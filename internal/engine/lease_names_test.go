// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// A lease may outlive its role, and another role may have the name by then.

func TestLease_EndsAlthoughAnotherRejectedRoleHasItsRolesName(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	h.deleteRole("job")
	h.modal.SetDisabled(h.static("job").ID, true)
	require.NoError(t, h.engine.Leases.End(t.Context(), lease.RevocationID))
	require.False(t, h.alive(lease.Cred.ID))
}

func TestLease_OfADeletedRoleIsNoPreviousTokenOfANewRole(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	var leases []*Lease
	for range model.MaxPreviousTokens {
		leases = append(leases, h.lease("job"))
	}
	h.deleteRole("job")
	h.managed("job")
	h.write(model.RoleWrite{Name: "job", Access: model.AccessWrite{EnvironmentRoles: to(map[string]modalapi.EnvironmentRole{"staging": modalapi.RoleViewer})}})
	h.rotate(model.RotateRequest{Role: "job"})
	for _, lease := range leases {
		require.Equal(t, map[string]string{"main": "contributor"}, h.rolesOf(lease.Cred.ID))
	}
	_, previous, err := h.engine.Mount.RotationWithPrevious(t.Context(), "job")
	require.NoError(t, err)
	require.Len(t, previous, 1)
}

func TestLease_IsNotCreatedIfTheRoleWasDeletedWhileTheReadWaited(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", func(ask *model.RoleWrite) { ask.Dynamic.MaxLeases = to(5) })
	leave := h.lockRole("job")
	deletes := h.begin(t.Context(), func(ctx context.Context) error {
		_, err := h.engine.Roles.Delete(ctx, "job", true)
		return err
	})
	h.awaitLockUsers("job", 2)
	reads := h.begin(t.Context(), func(ctx context.Context) error {
		_, err := h.engine.Leases.Create(ctx, LeaseRequest{Role: "job", VaultMax: vaultsMost})
		return err
	})
	h.awaitLockUsers("job", 3)
	leave()
	deletes.succeeds()
	reads.isRefused("was changed or deleted during this read")
	require.Empty(t, h.modal.ServiceUsers())
}
