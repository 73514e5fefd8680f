// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

// Promises to two who act at once. Gates decide who is where, and nobody's luck.

// patience is how long a test waits for what happens at once when nothing is wrong.
const patience = 10 * time.Second

// gate stops the first call of an RPC on its way into Modal.
type gate struct {
	t       *testing.T
	arrived chan struct{}
	opened  chan struct{}
	once    sync.Once
}

// gateAt sets a gate before an RPC. It opens at the latest when the test ends.
func (h *harness) gateAt(rpc string) *gate {
	g := &gate{t: h.t, arrived: make(chan struct{}), opened: make(chan struct{})}
	var first atomic.Bool
	h.modal.OnCall(func(called string) {
		if called == rpc && first.CompareAndSwap(false, true) {
			close(g.arrived)
			<-g.opened
		}
	})
	h.t.Cleanup(g.open)
	return g
}

// await returns once a call stands before the gate.
func (g *gate) await() {
	g.t.Helper()
	select {
	case <-g.arrived:
	case <-time.After(patience):
		g.t.Fatal("no call came to the gate")
	}
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// underway is what was begun and has not come back yet.
type underway struct {
	t    *testing.T
	err  error
	done chan struct{}
}

// begin lets something happen beside the test.
func (h *harness) begin(ctx context.Context, do act) *underway {
	u := &underway{t: h.t, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		u.err = do(ctx)
	}()
	return u
}

// answer waits for what came of it.
func (u *underway) answer() error {
	u.t.Helper()
	select {
	case <-u.done:
	case <-time.After(patience):
		u.t.Fatal("a request hangs")
	}
	return u.err
}

func (u *underway) succeeds() {
	u.t.Helper()
	require.NoError(u.t, u.answer())
}

func (u *underway) isRefused(says string) {
	u.t.Helper()
	err := u.answer()
	require.ErrorContains(u.t, err, says)
	require.True(u.t, IsMistake(err))
}

// act is what can be begun.
type act func(ctx context.Context) error

func (h *harness) rotating(ask RotateRequest) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Rotate(ctx, ask)
		return err
	}
}

func (h *harness) writing(ask RoleWrite) act {
	return func(ctx context.Context) error {
		_, err := h.engine.WriteRole(ctx, ask)
		return err
	}
}

func (h *harness) deleting(role string) act {
	return func(ctx context.Context) error {
		_, err := h.engine.DeleteRole(ctx, role, false)
		return err
	}
}

func (h *harness) ending(id string, force bool) act {
	return func(ctx context.Context) error {
		_, err := h.engine.End(ctx, id, force)
		return err
	}
}

func (h *harness) forgetting(id string, force bool) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Forget(ctx, id, force)
		return err
	}
}

func (h *harness) ticking(ctx context.Context) error { return h.engine.Tick(ctx) }

// inLine returns once so many hold the lock of a role or wait for it.
func (h *harness) inLine(role string, count int) {
	h.t.Helper()
	locks := h.engine.locks
	require.Eventually(h.t, func() bool {
		locks.mu.Lock()
		defer locks.mu.Unlock()
		lock := locks.names["role "+role]
		return lock != nil && lock.users == count
	}, patience, time.Millisecond, "not %d are in line for role %s", count, role)
}

// occupy holds a role's lock as a request would that works on it.
func (h *harness) occupy(role string) (leave func()) {
	h.t.Helper()
	unlock, err := h.engine.lockRole(h.t.Context(), role)
	require.NoError(h.t, err)
	leave = sync.OnceFunc(unlock)
	h.t.Cleanup(leave)
	return leave
}

// leftByACut stores the due entry of a current token, which a rotation leaves that is cut before the
// token is replaced (under its ID), or after it was made (under the service user's name).
func (h *harness) leftByACut(role string, underName bool) (key string) {
	h.t.Helper()
	r, cred, err := h.engine.current(h.t.Context(), role)
	require.NoError(h.t, err)
	entry := newRevocation(role, r, cred, reasonRotated, h.engine.Now(), 0)
	if underName {
		entry.Reason = reasonUnfinished
	}
	require.NoError(h.t, h.engine.revocations.Put(h.t.Context(), entry.Key(), entry))
	return entry.Key()
}

func TestWhoeverWaitedWhileARoleRotatedLeavesTheTokenThatWasPromisedAGracePeriod(t *testing.T) {
	t.Parallel()
	for name, waiting := range map[string]struct {
		does func(h *harness, key string) act
		// What it is told where the entry is known by the token's ID, and by the service user's name.
		says, saysOfName string
	}{
		"the worker": {func(h *harness, _ string) act { return h.ticking }, "", ""},
		"an ending without force": {
			func(h *harness, key string) act { return h.ending(key, false) },
			"is in its grace period until 2026-03-02T12:00:00Z", "is in the ledger",
		},
		"a forgetting without force": {
			func(h *harness, key string) act { return h.forgetting(key, false) },
			"Modal still accepts token", "",
		},
	} {
		for _, underName := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/underName=%t", name, underName), func(t *testing.T) {
				t.Parallel()
				h := newHarness(t)
				old := h.managed("ci")
				key := h.leftByACut("ci", underName)
				gate := h.gateAt("ServiceUserCreate")
				rotation := h.begin(t.Context(), h.rotating(RotateRequest{Role: "ci"}))
				gate.await()
				waits := h.begin(t.Context(), waiting.does(h, key))
				h.inLine("ci", 2)

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
				require.Equal(t, []string{old}, h.ledger(), "one entry answers for it")
				require.Equal(t, StateGrace, h.entry(old).State(h.engine.Now()))
				h.minutes(24*60 - 1)
				require.True(t, h.alive(old), "to the last minute")
				h.minutes(2)
				require.False(t, h.alive(old))
			})
		}
	}
}

func TestForgettingATokenEndsItUnderNoOtherKey(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.leftByACut("ci", true)
	h.rotate(RotateRequest{Role: "ci"})
	h.forget(old)
	h.minutes(20)
	require.True(t, h.alive(old), "forgetting ends nothing")
	h.modal.DeleteToken(old) // as the operator does whom it is left to
}

func TestAWorkerThatWaitedForARoleWhoseTokenWentElsewhereLeavesTheToken(t *testing.T) {
	t.Parallel()
	for _, toAdmin := range []bool{false, true} {
		t.Run(fmt.Sprintf("toAdmin=%t", toAdmin), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			token := h.static("ci")
			h.deleteRole("ci")
			h.advance(25 * time.Hour) // its grace period is over
			leave := h.occupy("ci")
			tick := h.begin(t.Context(), h.ticking)
			h.inLine("ci", 2)

			if toAdmin {
				h.configure(ConfigWrite{Supplied: bringing(token)})
			} else {
				h.write(staticRole("other", token))
			}
			h.modal.SetOutage(true)
			leave()

			tick.succeeds()
			require.Nil(t, h.entry(token.ID), "a token in use is in no ledger")
			require.True(t, h.alive(token.ID))
			require.NotContains(t, h.told.events(), EventRevoke)
		})
	}
}

func TestWhoeverWorksOnAnEntryHoldsTheRoleThatItBelongsToNow(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token := h.static("first")
	h.deleteRole("first")
	leaveFirst := h.occupy("first")
	forgetting := h.begin(t.Context(), h.forgetting(token.ID, true))
	h.inLine("first", 2)
	h.write(staticRole("second", token))
	h.rotate(RotateRequest{Role: "second", Supplied: bringing(h.member.NewToken())})
	leaveSecond := h.occupy("second")

	leaveFirst()

	h.inLine("second", 2)
	require.Equal(t, []string{token.ID}, h.ledger())
	leaveSecond()
	forgetting.succeeds()
	require.Empty(t, h.ledger())
}

func TestACreateThatWaitedDoesNotChangeTheRoleThatAnotherMadeMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	less := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer})
	more := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor, "staging": modalapi.RoleContributor})
	less.Expect, more.Expect = ExpectAbsent, ExpectAbsent
	gate := h.gateAt("ServiceUserCreate")
	first := h.begin(t.Context(), h.writing(less))
	gate.await()
	second := h.begin(t.Context(), h.writing(more))
	h.inLine("ci", 2)

	gate.open()

	first.succeeds()
	second.isRefused("role ci was made by another request meanwhile")
	require.Equal(t, map[string]string{"main": "viewer"}, h.rolesOf(h.current("ci").ID))
	require.Len(t, h.modal.ServiceUsers(), 1)
}

func TestWhatACallerThatLeftHadAskedForIsNotDone(t *testing.T) {
	t.Parallel()
	for name, does := range map[string]func(h *harness, old string) act{
		"a deletion": func(h *harness, _ string) act { return h.deleting("ci") },
		"a rotation": func(h *harness, _ string) act {
			return h.rotating(RotateRequest{Role: "ci"})
		},
		"an ending":    func(h *harness, old string) act { return h.ending(old, false) },
		"a forgetting": func(h *harness, old string) act { return h.forgetting(old, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			old := h.managed("ci")
			h.rotate(RotateRequest{Role: "ci"})
			before, calls := h.snapshot(), len(h.modal.Calls(""))
			leave := h.occupy("ci")
			ctx, cancel := context.WithCancel(t.Context())
			asked := h.begin(ctx, does(h, old))
			h.inLine("ci", 2)

			cancel()

			err := asked.answer()
			require.True(t, IsAway(err))
			require.ErrorContains(t, err, "another request still works on role ci")
			h.inLine("ci", 1)
			leave()
			h.unchangedSince(before)
			require.Len(t, h.modal.Calls(""), calls)
			require.NotContains(t, h.told.events(), EventRotateFail)
			require.NotContains(t, h.told.lines(), "rotation failed")
		})
	}
}

// seedManaged stores managed roles as if they had been minted long ago, without asking Modal.
func (h *harness) seedManaged(count int) (names []string) {
	h.t.Helper()
	for i := range count {
		name := fmt.Sprintf("role-%05d", i)
		names = append(names, name)
		r := newRole()
		r.Type = TypeManaged
		r.Managed = &ManagedPolicy{Access: Access{Scoped: true, EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}}}
		cred := &Credential{Version: 1, LastRotation: start, NextRotation: start.Add(89 * Day), Token: Token{
			ID: fmt.Sprintf("ak-%022d", i), Secret: fmt.Sprintf("as-%022d", i), WorkspaceID: h.workspace.ID(), Workspace: "acme",
			IdentityType: modalapi.IdentityServiceUser, IdentityID: fmt.Sprintf("sv-%d", i), Identity: fmt.Sprintf("vault-seed-%d", i), LastVerified: start,
		}}
		require.NoError(h.t, h.engine.credentials.Put(h.t.Context(), name, cred))
		require.NoError(h.t, h.engine.roles.Put(h.t.Context(), name, r))
	}
	return names
}

func TestARotationStuckAtASlowModalHoldsUpNoOtherRole(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	others := h.seedManaged(300)
	h.managed("ci")
	gate := h.gateAt("ServiceUserCreate")
	stuck := h.begin(t.Context(), h.rotating(RotateRequest{Role: "ci"}))
	gate.await()

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, name := range others {
		require.NoError(t, h.writing(RoleWrite{Name: name, RefreshInterval: to(time.Minute)})(ctx), name)
	}
	h.static("static")
	h.rotate(RotateRequest{Role: "static", Supplied: bringing(h.member.NewToken())})
	h.deleteRole("static")
	h.configure(ConfigWrite{RequestTimeout: to(20 * time.Second)})
	h.tick()
	require.Equal(t, 1, h.current("ci").Version)

	gate.open()
	stuck.succeeds()
}

// dueInEveryWay is a managed role that is due for its second rotation, with a token of before that is
// due to end.
func dueInEveryWay(t *testing.T) (h *harness, old string) {
	t.Helper()
	h = newHarness(t)
	ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
	ask.RotationPeriod, ask.GracePeriod = to(10*time.Hour), to(10*time.Hour)
	h.write(ask)
	old = h.current("ci").ID
	h.rotate(RotateRequest{Role: "ci"})
	h.advance(10 * time.Hour)
	return h, old
}

func TestWaitingForABusyRoleIsNoFailure(t *testing.T) {
	t.Parallel()
	for name, waiting := range map[string]struct {
		until  func(h *harness) act
		inLine int
		broken bool // a tick that is broken off may say so
	}{
		"a rotation until the time of the tick is over": {func(h *harness) act {
			return func(ctx context.Context) error { return h.engine.rotateOnSchedule(h.t.Context(), ctx, "ci") }
		}, 2, false},
		"a revocation until the time of the tick is over": {func(h *harness) act {
			return func(ctx context.Context) error { return h.engine.workLedger(h.t.Context(), ctx) }
		}, 2, false},
		"a tick until Vault seals or steps down": {func(h *harness) act { return h.ticking }, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, old := dueInEveryWay(t)
			before := h.snapshot()
			leave := h.occupy("ci")
			ctx, cancel := context.WithCancel(t.Context())
			waits := h.begin(ctx, waiting.until(h))
			h.inLine("ci", waiting.inLine)

			cancel()

			if err := waits.answer(); !waiting.broken {
				require.NoError(t, err)
			}
			leave()
			h.unchangedSince(before)
			require.NotContains(t, h.told.lines(), "failed")
			h.tick()
			require.Equal(t, 3, h.current("ci").Version, "it is done at the next tick")
			require.Nil(t, h.entry(old))
		})
	}
}

func TestASealOrAStepDownIsNoFailureOfWhatItBreaksOff(t *testing.T) {
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

			_ = tick.answer() // a tick that is broken off may say so
			gate.open()
			require.Zero(t, h.current("ci").Attempts)
			require.Empty(t, h.current("ci").LastError)
			if entry := h.entry(old); entry != nil {
				require.Zero(t, entry.Attempts)
			}
			require.NotContains(t, h.told.events(), EventRotateFail)
			require.NotContains(t, h.told.events(), EventRevokeFail)
			h.restart()
			h.minutes(11)
			require.Equal(t, 3, h.current("ci").Version)
			require.Nil(t, h.entry(old))
		})
	}
}

func TestAnUndoThatWaitedLeavesATokenThatAnOperatorEndedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.rotate(RotateRequest{Role: "ci"})
	current := h.current("ci").ID
	gate := h.gateAt("ServiceUserDelete")
	ending := h.begin(t.Context(), h.ending(old, true))
	gate.await()
	undo := h.begin(t.Context(), h.rotating(RotateRequest{Role: "ci", ToPrevious: true}))
	h.inLine("ci", 2)

	gate.open()

	ending.succeeds()
	undo.isRefused("no previous token")
	require.Equal(t, current, h.current("ci").ID)
}

// unasked is a token that an operator brings with verify=false.
func unasked(token modaltest.Token) Supplied {
	pair := bringing(token)
	pair.Verify = false
	return pair
}

func TestATokenThatAnOperatorEndsDoesNotBecomeTheAdminsMeanwhile(t *testing.T) {
	t.Parallel()
	for name, as := range map[string]struct {
		brings func(modaltest.Token) Supplied
		gone   bool // whether it is gone when Modal is first asked about it
	}{
		"proven":   {bringing, true},
		"unproven": {unasked, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			robot := h.workspace.AddServiceUser("robot")
			h.write(RoleWrite{Name: "ci", Kind: to(TypeStatic), Supplied: as.brings(robot)})
			h.rotate(RotateRequest{Role: "ci", Supplied: bringing(h.workspace.AddServiceUser("robot-2")), Force: true})
			gate := h.gateAt("TokenInfoGet")
			ending := h.begin(t.Context(), h.ending(robot.ID, true))
			gate.await()
			require.Equal(t, as.gone, !h.alive(robot.ID))

			_, err := h.engine.WriteConfig(t.Context(), ConfigWrite{Supplied: unasked(robot)})

			require.True(t, IsMistake(err), "its end is in storage already")
			gate.open()
			ending.succeeds()
			require.False(t, h.alive(robot.ID))
			require.Empty(t, h.ledger())
		})
	}
}

func TestATokenThatBecomesTheAdminsWhileTheEngineIsAboutToEndItIsLeft(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	pair := h.current("ci").pair()
	grace := time.Duration(0)
	h.rotate(RotateRequest{Role: "ci", Grace: &grace})
	gate := h.gateAt("TokenInfoGet") // the engine sees first that the role's current token works
	ending := h.begin(t.Context(), h.ending(old, false))
	gate.await()

	h.configure(ConfigWrite{Supplied: unasked(modaltest.Token{ID: pair.ID, Secret: pair.Secret})})

	gate.open()
	ending.succeeds()
	require.Empty(t, h.modal.Calls("ServiceUserDelete"))
	h.minutes(3)
	require.Nil(t, h.entry(old), "a token in use is in no ledger")
	require.True(t, h.alive(old))
	h.modal.DeleteToken(old) // which the configuration alone answers for
}
