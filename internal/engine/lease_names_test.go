// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Leases outlive their role, and its name may be another role's by then.

func TestLease_EndsAlthoughItsRolesNameIsAnotherRolesWhoseTokenModalRefuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	h.deleteRole("job")
	h.modal.SetDisabled(h.static("job").ID, true)
	require.NoError(t, h.engine.EndLease(t.Context(), lease.Entry))
	require.False(t, h.alive(lease.Cred.ID))
}

func TestLease_OfADeletedRoleIsNoPreviousTokenOfTheManagedRoleThatHasItsName(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	var leases []*Lease
	for range maxPreviousTokens {
		leases = append(leases, h.lease("job"))
	}
	h.deleteRole("job")
	h.managed("job")
	h.write(RoleWrite{Name: "job", Access: AccessWrite{EnvironmentRoles: to(map[string]modalapi.EnvironmentRole{"staging": modalapi.RoleViewer})}})
	h.rotate(RotateRequest{Role: "job"})
	for _, lease := range leases {
		require.Equal(t, map[string]string{"main": "contributor"}, h.rolesOf(lease.Cred.ID))
	}
	_, previous, err := h.engine.Rotation(t.Context(), "job")
	require.NoError(t, err)
	require.Len(t, previous, 1)
}

func TestLease_IsNotMadeOfARoleThatWasDeletedByForceWhileTheReadWaited(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", func(ask *RoleWrite) { ask.Dynamic.MaxLeases = to(5) })
	leave := h.occupy("job")
	deletes := h.begin(t.Context(), func(ctx context.Context) error {
		_, err := h.engine.DeleteRole(ctx, "job", true)
		return err
	})
	h.inLine("job", 2)
	reads := h.begin(t.Context(), func(ctx context.Context) error {
		_, err := h.engine.NewLease(ctx, "job", vaultsMost)
		return err
	})
	h.inLine("job", 3)
	leave()
	deletes.succeeds()
	reads.isRefused("was changed or deleted while this read waited")
	require.Empty(t, h.modal.ServiceUsers())
}
