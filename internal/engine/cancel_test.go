// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

func TestCancel_ARequestOfACallerThatLeftIsNotDone(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]func(b *bubble, old string) act{
		"a write of a role": func(b *bubble, _ string) act {
			return b.writing(model.RoleWrite{Name: "ci", Description: to("another")})
		},
		"a delete of a role": func(b *bubble, _ string) act { return b.deleting("ci") },
		"a rotation": func(b *bubble, _ string) act {
			return b.rotating(model.RotateRequest{Role: "ci", Supplied: bringing(b.member.NewToken())})
		},
		"an undo":                   func(b *bubble, _ string) act { return b.rotating(model.RotateRequest{Role: "ci", ToPrevious: true}) },
		"a verification":            func(b *bubble, _ string) act { return b.verifying("ci") },
		"the end of a revocation":   func(b *bubble, old string) act { return b.ending(old, true) },
		"forgetting a revocation":   func(b *bubble, old string) act { return b.forgetting(old, true) },
		"the begin of an approval":  func(b *bubble, _ string) act { return b.beginning("ci") },
		"the cancel of an approval": func(b *bubble, _ string) act { return b.cancelling("ci") },
		"a write of config":         func(b *bubble, _ string) act { return b.configuring(model.ConfigWrite{Paused: to(true)}) },
		"a new admin token": func(b *bubble, _ string) act {
			return b.configuring(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		},
		"a delete of config":              func(b *bubble, _ string) act { return b.deletingConfig },
		"a rotation of the admin token":   func(b *bubble, _ string) act { return b.rotatingAdmin(bringing(b.member.NewToken())) },
		"an approval for config":          func(b *bubble, _ string) act { return b.beginning("") },
		"the cancel of config's approval": func(b *bubble, _ string) act { return b.cancelling("") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bubble) {
				t := b.t
				b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
				old := b.static("ci").ID
				b.rotate(model.RotateRequest{Role: "ci", Supplied: bringing(b.member.NewToken())})
				if running := strings.HasPrefix(name, "the cancel"); running {
					require.NoError(t, errors.Join(b.beginning("ci")(t.Context()), b.beginning("")(t.Context())))
					synctest.Wait() // the engine asks Modal about both
				}
				role, err := b.engine.Mount.LockRole(t.Context(), "ci")
				require.NoError(t, err)
				config, err := b.engine.Mount.LockConfig(t.Context())
				require.NoError(t, err)
				before, calls := b.snapshot(), b.modal.CallCount()
				ctx, cancel := context.WithCancel(t.Context())
				waits := b.harness.begin(ctx, request(b, old))
				synctest.Wait()

				cancel()

				synctest.Wait()
				err = waits.answer()
				require.True(t, model.IsCanceled(err))
				require.ErrorContains(t, err, "another request is still working on")
				role()
				config()
				synctest.Wait()
				b.unchangedSince(before)
				require.Equal(t, calls, b.modal.CallCount())
				require.NotContains(t, b.recorded.events(), model.EventRotateFail)
				require.NotContains(t, b.recorded.lines(), "rotation failed")
			})
		})
	}
}

// seedManaged stores managed roles as if they had been created long ago, without a call to Modal.
func (h *harness) seedManaged(count int) (names []string) {
	h.t.Helper()
	for i := range count {
		name := fmt.Sprintf("role-%05d", i)
		names = append(names, name)
		r := model.NewRole(rand.Text())
		r.Type = model.TypeManaged
		r.Managed = &model.ManagedPolicy{Access: model.Access{Scoped: true, EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}}}
		cred := &model.Credential{Version: 1, LastRotation: start, NextRotation: start.Add(89 * model.Day), Token: model.Token{
			ID: fmt.Sprintf("ak-%022d", i), Secret: fmt.Sprintf("as-%022d", i), WorkspaceID: h.workspace.ID(), Workspace: "acme",
			IdentityType: modalapi.IdentityServiceUser, IdentityID: fmt.Sprintf("sv-%d", i), Identity: fmt.Sprintf("vault-seed-%d", i), LastVerified: start,
		}}
		require.NoError(h.t, h.engine.Mount.Credentials.Put(h.t.Context(), name, cred))
		require.NoError(h.t, h.engine.Mount.Roles.Put(h.t.Context(), name, r))
	}
	return names
}

func TestRotate_ASlowModalBlocksNoOtherRole(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	others := h.seedManaged(300)
	h.managed("ci")
	gate := h.gateAt("ServiceUserCreate")
	stuck := h.begin(t.Context(), h.rotating(model.RotateRequest{Role: "ci"}))
	gate.await()

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, name := range others {
		require.NoError(t, h.writing(model.RoleWrite{Name: name, RefreshInterval: to(time.Minute)})(ctx), name)
	}
	h.static("static")
	h.rotate(model.RotateRequest{Role: "static", Supplied: bringing(h.member.NewToken())})
	h.deleteRole("static")
	h.configure(model.ConfigWrite{RequestTimeout: to(20 * time.Second)})
	h.tick()
	require.Equal(t, 1, h.current("ci").Version)

	gate.open()
	stuck.succeeds()
}

// dueInEveryWay returns a harness whose managed role is due for its second rotation and whose previous token
// is due for revocation.
func dueInEveryWay(t *testing.T) (h *harness, old string) {
	t.Helper()
	h = newHarness(t)
	ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
	ask.RotationPeriod, ask.GracePeriod = to(10*time.Hour), to(10*time.Hour)
	h.write(ask)
	old = h.current("ci").ID
	h.rotate(model.RotateRequest{Role: "ci"})
	h.advance(10 * time.Hour)
	return h, old
}

func TestCancel_WaitingForABusyRoleIsNoFailure(t *testing.T) {
	t.Parallel()
	for name, waiting := range map[string]struct {
		until     func(h *harness) act
		lockUsers int
		broken    bool // a tick that is interrupted may return an error
	}{
		"a rotation until the tick's time is over": {func(h *harness) act {
			return func(ctx context.Context) error { return h.engine.Rotations.rotateOnSchedule(h.t.Context(), ctx, "ci") }
		}, 2, false},
		"a revocation until the tick's time is over": {func(h *harness) act {
			return func(ctx context.Context) error { return h.engine.Worker.processQueue(h.t.Context(), ctx) }
		}, 2, false},
		"a tick until Vault seals or steps down": {func(h *harness) act { return h.ticking }, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, old := dueInEveryWay(t)
			before := h.snapshot()
			leave := h.lockRole("ci")
			ctx, cancel := context.WithCancel(t.Context())
			waits := h.begin(ctx, waiting.until(h))
			h.awaitLockUsers("ci", waiting.lockUsers)

			cancel()

			if err := waits.answer(); !waiting.broken {
				require.NoError(t, err)
			}
			leave()
			h.unchangedSince(before)
			require.NotContains(t, h.recorded.lines(), "failed")
			h.tick()
			require.Equal(t, 3, h.current("ci").Version, "the next tick must do the rotation")
			require.Nil(t, h.revocation(old))
		})
	}
}

func TestCancel_ASealOrStepDownIsNoFailureOfTheWork(t *testing.T) {
	t.Parallel()
	for _, rpc := range []string{"ServiceUserCreate", "EnvironmentRoleSet", "ServiceUserInfo", "ServiceUserDelete"} {
		t.Run(rpc, func(t *testing.T) {
			t.Parallel()
			h, old := dueInEveryWay(t)
			gate := h.gateAt(rpc)
			ctx, cancel := context.WithCancel(t.Context())
			tick := h.begin(ctx, h.ticking)
			gate.await()

			cancel()

			_ = tick.answer() // a tick that is interrupted may return an error
			gate.open()
			require.Zero(t, h.current("ci").Attempts)
			require.Empty(t, h.current("ci").LastError)
			if entry := h.revocation(old); entry != nil {
				require.Zero(t, entry.Attempts)
			}
			require.NotContains(t, h.recorded.events(), model.EventRotateFail)
			require.NotContains(t, h.recorded.events(), model.EventRevokeFail)
			h.restart()
			h.minutes(11)
			require.Equal(t, 3, h.current("ci").Version)
			require.Nil(t, h.revocation(old))
		})
	}
}
