// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// These tests check two requests at the same time. Gates decide the order, so no test depends on luck.

func TestRotate_RequestsThatWaitedLeaveTheOldTokenItsGracePeriod(t *testing.T) {
	t.Parallel()
	for name, waiting := range map[string]struct {
		does func(h *harness, key string) act
		// says and saysOfName are the expected refusals where the revocation is stored under the token's ID,
		// and under the service user's name.
		says, saysOfName string
	}{
		"the worker": {func(h *harness, _ string) act { return h.ticking }, "", ""},
		"a revoke without force": {
			func(h *harness, key string) act { return h.ending(key, false) },
			"is in its grace period until 2026-03-02T12:00:00Z", "the revocation queue has no token",
		},
		"a forget without force": {
			func(h *harness, key string) act { return h.forgetting(key, false) },
			"Modal still accepts token", "",
		},
	} {
		for _, underName := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/underName=%t", name, underName), func(t *testing.T) {
				t.Parallel()
				h := newHarness(t)
				old := h.managed("ci")
				key := h.leftByCrash("ci", underName)
				gate := h.gateAt("ServiceUserCreate")
				rotation := h.begin(t.Context(), h.rotating(model.RotateRequest{Role: "ci"}))
				gate.await()
				waits := h.begin(t.Context(), waiting.does(h, key))
				h.awaitLockUsers("ci", 2)

				gate.open()

				rotation.succeeds()
				says := waiting.says
				if underName {
					says = waiting.saysOfName
				}
				if says == "" {
					waits.succeeds()
				} else {
					waits.isRefused(says)
				}
				require.NotEqual(t, old, h.current("ci").ID)
				require.True(t, h.alive(old))
				h.tick()
				require.Equal(t, []string{old}, h.queueIDs(), "exactly one revocation must refer to the token")
				require.Equal(t, model.StateGrace, h.revocation(old).State(h.engine.Mount.Now()))
				h.minutes(24*60 - 1)
				require.True(t, h.alive(old), "the token must live until the last minute of its grace period")
				h.minutes(2)
				require.False(t, h.alive(old))
			})
		}
	}
}

func TestRevocation_AForgottenTokenIsNotDeletedUnderAnotherKey(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.leftByCrash("ci", true)
	h.rotate(model.RotateRequest{Role: "ci"})
	h.forget(old)
	h.minutes(20)
	require.True(t, h.alive(old), "a forgotten token must stay valid")
	h.modal.DeleteToken(old) // the operator deletes the forgotten token
}

func TestWorker_KeepsATokenThatMovedWhileItWaitedForTheRole(t *testing.T) {
	t.Parallel()
	for _, toAdmin := range []bool{false, true} {
		t.Run(fmt.Sprintf("toAdmin=%t", toAdmin), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			token := h.static("ci")
			h.deleteRole("ci")
			h.advance(25 * time.Hour) // its grace period is over
			leave := h.lockRole("ci")
			tick := h.begin(t.Context(), h.ticking)
			h.awaitLockUsers("ci", 2)

			if toAdmin {
				h.configure(model.ConfigWrite{Supplied: bringing(token)})
			} else {
				h.write(staticRole("other", token))
			}
			h.modal.SetOutage(true)
			leave()

			tick.succeeds()
			require.Nil(t, h.revocation(token.ID), "a token in use must have no revocation")
			require.True(t, h.alive(token.ID))
			require.NotContains(t, h.recorded.events(), model.EventRevoke)
		})
	}
}

func TestRevocation_IsProcessedUnderTheLockOfItsCurrentRole(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token := h.static("first")
	h.deleteRole("first")
	leaveFirst := h.lockRole("first")
	forgetting := h.begin(t.Context(), h.forgetting(token.ID, true))
	h.awaitLockUsers("first", 2)
	h.write(staticRole("second", token))
	h.rotate(model.RotateRequest{Role: "second", Supplied: bringing(h.member.NewToken())})
	leaveSecond := h.lockRole("second")

	leaveFirst()

	h.awaitLockUsers("second", 2)
	require.Equal(t, []string{token.ID}, h.queueIDs())
	leaveSecond()
	forgetting.succeeds()
	require.Empty(t, h.queueIDs())
}

func TestRole_ACreateThatWaitedDoesNotChangeAColleaguesRole(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	less := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer})
	more := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor, "staging": modalapi.RoleContributor})
	less.Expect, more.Expect = model.ExpectAbsent, model.ExpectAbsent
	gate := h.gateAt("ServiceUserCreate")
	first := h.begin(t.Context(), h.writing(less))
	gate.await()
	second := h.begin(t.Context(), h.writing(more))
	h.awaitLockUsers("ci", 2)

	gate.open()

	first.succeeds()
	second.isRefused("another request has created role ci in the meantime")
	require.Equal(t, map[string]string{"main": "viewer"}, h.rolesOf(h.current("ci").ID))
	require.Len(t, h.modal.ServiceUsers(), 1)
}

func TestUndo_ThatWaitedDoesNotUseATokenRevokedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	current := h.current("ci").ID
	gate := h.gateAt("ServiceUserDelete")
	ending := h.begin(t.Context(), h.ending(old, true))
	gate.await()
	undo := h.begin(t.Context(), h.rotating(model.RotateRequest{Role: "ci", ToPrevious: true}))
	h.awaitLockUsers("ci", 2)

	gate.open()

	ending.succeeds()
	undo.isRefused("no previous token")
	require.Equal(t, current, h.current("ci").ID)
}

// readOnlyStorage is the storage of a node that is no longer the leader.
type readOnlyStorage struct{ logical.Storage }

func (readOnlyStorage) Put(context.Context, *logical.StorageEntry) error {
	return errors.New("this node no longer leads")
}

func (readOnlyStorage) Delete(context.Context, string) error {
	return errors.New("this node no longer leads")
}

// formerLeader returns the engine of a node that was the leader before.
func (h *harness) formerLeader() *Engine {
	leads := h.engine
	defer func() { h.engine = leads }()
	h.restartOver(readOnlyStorage{h.storage})
	return h.engine
}

func TestCluster_AFormerLeaderRestoresNoRemovedRights(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	id := h.managed("ci")
	other := h.formerLeader()
	_, _, err := other.Mount.RotationWithPrevious(t.Context(), "ci") // from now on the node remembers the policy
	require.NoError(t, err)
	narrow := map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}
	h.write(managedRole("ci", narrow))

	h.advance(2 * model.Day)
	require.Error(t, other.Worker.Tick(t.Context()))

	for _, user := range h.modal.ServiceUsers() {
		if user.TokenID == id {
			require.Equal(t, map[string]string{"main": "viewer"}, user.Roles)
		}
	}
}

func TestCluster_AFormerLeaderDeletesNothingThatTheLeaderCreates(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	leads, other := h.engine, h.formerLeader()
	gate := h.gateAt("EnvironmentRoleSet")
	rotates := h.begin(t.Context(), func(ctx context.Context) error {
		_, err := leads.Rotations.Rotate(ctx, model.RotateRequest{Role: "ci"})
		return err
	})
	gate.await()

	h.ahead.Store(int64(7 * time.Hour))
	require.Error(t, other.Worker.Tick(t.Context()))
	h.ahead.Store(0)

	gate.open()
	rotates.succeeds()
	require.True(t, h.alive(h.current("ci").ID))
}

func TestRevocation_DoesNotBeginToDeleteATokenWhileARoleTakesIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		first := b.static("ci")
		old := b.current("ci").Token
		b.rotate(model.RotateRequest{Role: "ci", Supplied: bringing(b.member.NewToken())})
		b.pass(2 * model.Day)
		var ending *underway

		err := b.engine.Owners.Assign(t.Context(), old, "other", func() error {
			ending = b.harness.begin(t.Context(), b.ending(old.ID, false))
			synctest.Wait() // the revocation gets as far as it can
			role := model.NewRole("generation")
			role.Type = model.TypeStatic
			cred := model.NewCredential(role, old, b.engine.Mount.Now(), b.engine.Mount.Jitter)
			return errors.Join(b.engine.Mount.Credentials.Put(t.Context(), "other", cred), b.engine.Mount.Roles.Put(t.Context(), "other", role))
		})

		require.NoError(t, err)
		<-ending.done
		require.True(t, b.accepts(first), "the token is the current token of the other role")
		require.Empty(t, b.queueIDs())
	})
}

func TestDelete_ByForceKeepsWhatItsLeasesStoreMeanwhile(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		b.dynamic("job")
		b.lease("job")
		id := b.queueIDs()[0]
		unlock, err := b.engine.Mount.LockLease(t.Context(), id) // another request changes the lease
		require.NoError(t, err)
		deleting := b.harness.begin(t.Context(), func(ctx context.Context) error {
			_, failed := b.engine.Roles.Delete(ctx, "job", true)
			return failed
		})
		synctest.Wait()
		require.False(t, b.revocation(id).Forced, "the deletion must wait for the lease's lock")
		stored := *b.revocation(id)
		stored.Rights.EnvironmentRoles = viewer
		require.NoError(t, b.engine.Mount.Revocations.Put(t.Context(), id, &stored))
		b.modal.SetOutage(true)

		unlock()

		deleting.succeeds()
		require.True(t, b.revocation(id).Forced)
		require.Equal(t, viewer, b.revocation(id).Rights.EnvironmentRoles)
		b.modal.SetOutage(false)
		b.ticks(20 * time.Minute)
		require.Empty(t, b.queueIDs())
		require.Empty(t, b.modal.ServiceUsers())
	})
}

func TestConfig_OfTwoRequestsAtOnceKeepsTheChangesOfBoth(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(b *bubble, next model.Supplied) act{
		"a write": func(b *bubble, next model.Supplied) act {
			return func(ctx context.Context) error {
				_, err := b.engine.Configs.Write(ctx, model.ConfigWrite{Supplied: next})
				return err
			}
		},
		"a rotation of the admin token": func(b *bubble, next model.Supplied) act {
			return func(ctx context.Context) error {
				_, err := b.engine.Configs.RotateAdmin(ctx, model.AdminRotation{Supplied: next})
				return err
			}
		},
		"a verification by the worker": func(b *bubble, _ model.Supplied) act { return b.engine.Verifier.verifyAdmin },
	} {
		for _, deletes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/deletes=%t", name, deletes), func(t *testing.T) {
				t.Parallel()
				inBubble(t, func(b *bubble) {
					t := b.t
					b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
					before, err := b.engine.Configs.Read(t.Context())
					require.NoError(t, err)
					b.pass(25 * time.Hour)
					gate := b.gateAt("TokenInfoGet")
					asking := b.harness.begin(t.Context(), first(b, bringing(b.member.NewToken())))
					gate.await()
					second := b.harness.begin(t.Context(), func(ctx context.Context) error {
						if deletes {
							_, failed := b.engine.Configs.Delete(ctx, false)
							return failed
						}
						_, failed := b.engine.Configs.Write(ctx, model.ConfigWrite{Paused: to(true)})
						return failed
					})
					synctest.Wait()

					gate.open()

					asking.succeeds()
					second.succeeds()
					after, err := b.engine.Configs.Read(t.Context())
					require.NoError(t, err)
					if deletes {
						require.Nil(t, after, "the deletion came last")
						return
					}
					require.True(t, after.Paused)
					changed := after.AdminID() != before.AdminID() || !after.AdminChecked.Equal(before.AdminChecked)
					require.True(t, changed, "the first request must keep its change, too")
				})
			})
		}
	}
}

func TestVerifyAdmin_ThatWaitedForConfigKeepsTheWriteBeforeIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		b.pass(25 * time.Hour)
		unlock, err := b.engine.Mount.LockConfig(t.Context()) // a write of config
		require.NoError(t, err)
		verifying := b.harness.begin(t.Context(), b.engine.Verifier.verifyAdmin)
		synctest.Wait()
		cfg, err := b.engine.Configs.Read(t.Context())
		require.NoError(t, err)
		written := *cfg
		written.Paused = true
		require.NoError(t, b.engine.Mount.Config.Put(t.Context(), "", &written))

		unlock()

		verifying.succeeds()
		after, err := b.engine.Configs.Read(t.Context())
		require.NoError(t, err)
		require.True(t, after.Paused)
	})
}
