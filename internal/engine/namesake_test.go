// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
)

// The tests in this file check which service user the engine deletes if its name or its token has moved.

// namesake replaces a service user by another one of the same name, as people do at Modal.
func (h *harness) namesake(of modaltest.Token, name string) modaltest.Token {
	h.t.Helper()
	require.True(h.t, h.modal.DeleteToken(of.ID))
	other, err := h.workspace.CreateServiceUser(name)
	require.NoError(h.t, err)
	return other
}

func TestOrphans_ANamesakeWithAnotherIDIsNotDeleted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	const name = "vault-2f9f1a7c-gpu-aaaaaaaa"
	chosen := h.stranger("gpu-aaaaaaaa")
	h.advance(time.Hour)
	h.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	done, err := h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{Names: []string{name}})
	require.NoError(t, err)
	require.Equal(t, []string{name}, done.Left)
	h.modal.ClearFaults()
	other := h.namesake(chosen, name)

	h.minutes(30)

	require.True(t, h.accepts(other), "the operator chose another service user")
	require.Empty(t, h.queueIDs(), "the chosen one is gone")
	h.modal.DeleteToken(other.ID)
}

func TestRotation_ANamesakeOfThePreviousServiceUserIsNotDeleted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	old := h.current("ci").Token
	h.rotate(model.RotateRequest{Role: "ci"})
	other := h.namesake(modaltest.Token{ID: old.ID}, old.Identity)

	ended, err := h.engine.Revocations.End(t.Context(), old.ID, true)

	require.NoError(t, err)
	require.True(t, ended.Revoked)
	require.Equal(t, model.ProofRejected, ended.Proof)
	require.True(t, h.accepts(other))
	h.modal.DeleteToken(other.ID)
}

func TestRotation_ThePreviousTokenIsKeptWhileModalSaysNothingOfTheCurrent(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.ResourceExhausted, codes.Unavailable} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			old := h.managed("ci")
			h.rotate(model.RotateRequest{Role: "ci"})
			current := h.current("ci").ID
			h.advance(25 * time.Hour)
			h.modal.Inject("TokenInfoGet", modaltest.Fault{Code: code, Times: -1, Match: func(c modaltest.Call) bool { return c.TokenID == current }})

			h.minutes(3)

			require.True(t, h.alive(old))
			require.Contains(t, h.revocation(old).LastError, "keeps this previous token")
			h.modal.ClearFaults()
			h.minutes(30)
			require.False(t, h.alive(old))
		})
	}
}

func TestLease_ATokenThatArrivesAfterItsEndBeganIsNotHandedOut(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(entry *model.Revocation){
		"forced":  func(entry *model.Revocation) { entry.Forced = true },
		"started": func(entry *model.Revocation) { entry.DeletionStarted = true },
		"gone":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.dynamic("job")
			gate := h.gateAt("ServiceUserCreate")
			reads := h.begin(t.Context(), func(ctx context.Context) error {
				_, err := h.engine.Leases.Create(ctx, LeaseRequest{Role: "job", VaultMax: vaultsMost})
				return err
			})
			gate.await()
			require.Len(t, h.queueIDs(), 1)
			pending := *h.revocation(h.queueIDs()[0])
			if end == nil {
				require.NoError(t, h.engine.Mount.Revocations.Delete(t.Context(), pending.Key()))
			} else {
				end(&pending)
				require.NoError(t, h.engine.Mount.Revocations.Put(t.Context(), pending.Key(), &pending))
			}

			gate.open()

			reads.isRefused("an operator ended service user " + pending.Identity + " before its lease began")
			h.minutes(30)
			require.Empty(t, h.modal.ServiceUsers())
			require.Empty(t, h.queueIDs())
		})
	}
}

func TestAdminToken_ItsServiceUserIsNotDeletedAsAnUnfinishedOne(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	made := h.current("ci").Token
	h.rotate(model.RotateRequest{Role: "ci"})
	h.configure(model.ConfigWrite{Supplied: bringing(modaltest.Token{ID: made.ID, Secret: made.Secret}), Force: true})
	cfg, err := h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	left := model.NewUnfinishedRevocation("ci", "", made.Identity, cfg, h.clock()) // as in a restored snapshot
	require.NoError(t, h.engine.Mount.Revocations.Put(t.Context(), left.Key(), left))

	h.minutes(15)

	require.Nil(t, h.revocation(left.Key()), "the service user is in use")
	require.Empty(t, h.modal.Calls("ServiceUserDelete"))
	require.True(t, h.alive(made.ID))
	h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})
}

func TestAdminToken_ItsServiceUserIsNoOrphan(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	made := h.current("ci").Token
	h.rotate(model.RotateRequest{Role: "ci"})
	h.advance(time.Hour)
	gate := h.gateAt("ServiceUserList") // a service user itself may not list
	compares := h.begin(t.Context(), h.engine.Guard.Compare)
	gate.await()
	h.configure(model.ConfigWrite{Supplied: bringing(modaltest.Token{ID: made.ID, Secret: made.Secret}), Force: true})
	require.Nil(t, h.revocation(made.ID))

	gate.open()

	compares.succeeds()
	require.False(t, h.outOfSync())
	h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})
}
