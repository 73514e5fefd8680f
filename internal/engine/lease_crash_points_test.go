// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// Between a read and its answer, the process dies at every write, and every call to Modal fails.
func TestLease_EveryCutOfACreationLeavesNoUntrackedServiceUser(t *testing.T) {
	t.Parallel()
	cuts := 0
	for at := 1; ; at++ {
		reached := false
		for _, after := range []bool{false, true} {
			inBubble(t, func(b *bubble) {
				b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
				b.dynamic("job")
				b.disk.crashAt(at, after)
				_, err := b.engine.Leases.Create(b.t.Context(), LeaseRequest{Role: "job", VaultMax: vaultsMost})
				reached = reached || b.disk.crashed()
				require.Empty(b.t, b.modal.Orphans(b.trackedServiceUsers()))
				b.restart()
				if err == nil {
					return
				}
				cuts++
				b.pass(24 * time.Hour)
				b.ticks(time.Hour)
				require.Empty(b.t, b.modal.ServiceUsers(), "cut %d, after %t", at, after)
				require.Empty(b.t, b.queueIDs())
			})
		}
		if !reached {
			break
		}
	}
	require.Equal(t, 6, cuts, "each of three writes, before and after its effect")
	for _, rpc := range []string{"ServiceUserCreate", "EnvironmentList", "EnvironmentRoleSet", "TokenInfoGet", "ServiceUserInfo"} {
		for _, after := range []bool{false, true} {
			inBubble(t, func(b *bubble) {
				t := b.t
				b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
				b.dynamic("job")
				fault := modaltest.Fault{Code: codes.PermissionDenied}
				if after {
					fault = modaltest.Fault{Code: codes.Unavailable, AfterCommit: true, Times: -1}
				}
				b.modal.Inject(rpc, fault)
				if _, err := b.engine.Leases.Create(t.Context(), LeaseRequest{Role: "job", VaultMax: vaultsMost}); err == nil {
					return
				}
				require.Empty(t, b.modal.Orphans(b.trackedServiceUsers()), rpc)
				b.modal.ClearFaults()
				b.ticks(30 * time.Minute)
				require.Empty(t, b.modal.ServiceUsers(), rpc)
			})
		}
	}
}

// A credential left under the role's name would make the unfinished token the role's token.
func TestRole_ADynamicRoleDoesNotTakeOverAnUnfinishedManagedRole(t *testing.T) {
	t.Parallel()
	for at, reached := 1, true; reached; at++ {
		for _, after := range []bool{false, true} {
			inBubble(t, func(b *bubble) {
				b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
				b.disk.crashAt(at, after)
				_, _ = b.engine.Roles.Write(b.t.Context(), managedRole("job", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor}))
				if reached = b.disk.crashed(); !reached {
					return
				}
				b.restart()
				if written, _ := b.engine.Roles.Read(b.t.Context(), "job"); written != nil { // the process died after the creation of the role
					return
				}
				b.dynamic("job")
				b.ticks(time.Hour)
				require.Empty(b.t, b.modal.ServiceUsers(), "cut %d, after %t", at, after)
				require.Empty(b.t, b.queueIDs())
				left, err := b.engine.Mount.Credentials.Get(b.t.Context(), "job")
				require.NoError(b.t, err)
				require.Nil(b.t, left)
			})
		}
	}
}

func TestLease_EveryCutOfARevocationIsContinued(t *testing.T) {
	t.Parallel()
	for at := 1; ; at++ {
		reached := false
		for _, after := range []bool{false, true} {
			inBubble(t, func(b *bubble) {
				t := b.t
				b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
				b.dynamic("job")
				lease := b.lease("job")
				b.disk.crashAt(at, after)
				_ = b.engine.Leases.End(t.Context(), lease.RevocationID)
				reached = reached || b.disk.crashed()
				b.restart()
				require.NoError(t, b.engine.Leases.End(t.Context(), lease.RevocationID), "Vault's next attempt: cut %d, after %t", at, after)
				require.Empty(t, b.modal.ServiceUsers())
				require.Empty(t, b.queueIDs(), fmt.Sprint(at, after))
			})
		}
		if !reached {
			return
		}
	}
}
