// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

func TestRevocation_AnInterruptedForgetLeavesTheMountInSync(t *testing.T) {
	t.Parallel()
	for at, reached := 1, true; reached; at++ {
		for _, after := range []bool{false, true} {
			inBubble(t, func(b *bubble) {
				b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
				b.managed("ci")
				old := b.current("ci").Token
				b.rotate(model.RotateRequest{Role: "ci"})
				b.disk.crashAt(at, after)
				_, _ = b.engine.Revocations.Remove(b.t.Context(), old.ID, true)
				reached = b.disk.crashed()
				b.restart()
				b.pass(time.Hour)
				require.NoError(b.t, b.engine.Guard.Compare(b.t.Context()))
				require.NoError(b.t, b.engine.Guard.CheckDeletion(b.t.Context()), "cut %d, after %t", at, after)
			})
		}
	}
}

// undeletable is storage that cannot delete one key.
type undeletable struct {
	logical.Storage

	key string
}

func (k *undeletable) Delete(ctx context.Context, key string) error {
	if key == k.key {
		return errors.New("storage failed")
	}
	return k.Storage.Delete(ctx, key)
}

func TestRevocation_AHalfFailedForgetDeletesNoToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	name := h.leftByCrash("ci", true)
	old := h.current("ci").Token
	h.deleteRole("ci")
	h.restartOver(&undeletable{h.storage, state.PrefixRevocations + name})

	_, err := h.engine.Revocations.Remove(t.Context(), old.ID, true)

	require.Error(t, err, "without an error the engine would later delete the token as an unfinished one")
	h.restart()
	require.NotNil(t, h.revocation(old.ID))
	h.forget(old.ID)
	h.minutes(30 * 60)
	require.True(t, h.alive(old.ID))
	require.Empty(t, h.queueIDs())
	_, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{Names: []string{old.Identity}})
	require.NoError(t, err)
}

func TestRevocation_ARejectedAdminTokenProvesNothingAboutOthers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true, Times: -1})
	_, err := h.engine.Roles.Write(t.Context(), managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}))
	require.Error(t, err)
	h.modal.ClearFaults()
	require.Len(t, h.queueIDs(), 1)
	id := h.queueIDs()[0]
	h.modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.Unauthenticated, Times: -1})

	_, err = h.engine.Revocations.Remove(t.Context(), id, false)

	require.ErrorContains(t, err, "admin token")
	require.NotNil(t, h.revocation(id))
	h.modal.ClearFaults()
}

func TestRevocation_OfAnExpiredTokenIsNotForgottenWithoutForce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
	ask.Managed.TokenTTL = to(2 * time.Hour)
	h.write(ask)
	old := h.current("ci").Token
	h.rotate(model.RotateRequest{Role: "ci"})
	h.write(model.RoleWrite{Name: "ci", Managed: model.ManagedWrite{TokenTTL: to(time.Duration(0))}})
	h.rotate(model.RotateRequest{Role: "ci"})
	h.configure(model.ConfigWrite{RemoveAdmin: true})
	h.advance(3 * time.Hour)

	_, err := h.engine.Revocations.Remove(t.Context(), old.ID, false)

	require.ErrorContains(t, err, "its service user may still exist")
	require.NotNil(t, h.revocation(old.ID))
}
