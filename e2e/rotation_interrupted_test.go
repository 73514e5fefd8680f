// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// long is longer than a test needs to interrupt a call, and shorter than the engine waits for an answer of
// Modal.
const long = 10 * time.Second

func TestRotate_AfterACrashKeepsTheOldTokenAndLeavesNoServiceUser(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rpc       string
		committed bool
		strike    func(t *testing.T, w *world)
	}{
		"the plugin is killed before Modal answers the creation": {"ServiceUserCreate", true, func(t *testing.T, w *world) {
			t.Helper()
			w.killPlugin(t)
		}},
		"Vault is killed while the engine verifies the new token": {"TokenInfoGet", false, func(t *testing.T, w *world) {
			t.Helper()
			w.Kill()
			require.NoError(t, w.Restart(w.ctx))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newManagedWorld(t)
			w.newManagedRole(t)
			before := w.current(t)

			rotation := w.rotateSlowly(t, test.rpc, test.committed)
			test.strike(t, w)
			w.requireWhole(t, before, <-rotation)
			require.Condition(t, func() bool {
				return slices.ContainsFunc(w.list(t, "modal/revocations"), func(id string) bool { return strings.HasPrefix(id, "vault-") })
			}, "the revocation queue must name the unfinished service user")
			w.requireOnlyCurrentLeft(t)
			w.requireRejected(t, before.Token)
		})
	}
}

func TestRotate_SealingVaultHalfWayLeavesAConsistentRole(t *testing.T) {
	t.Parallel()
	w := newManagedWorld(t)
	w.newManagedRole(t)
	before := w.current(t)

	rotation := w.rotateSlowly(t, "EnvironmentRoleSet", false)
	w.vault(t, "operator", "seal")
	require.NoError(t, w.Unseal(w.ctx))
	w.requireWhole(t, before, <-rotation)
	w.requireOnlyCurrentLeft(t)
	w.requireRejected(t, before.Token)
}

// requireWhole asserts that an interrupted rotation happened once or not at all, and that Modal accepts the
// role's token. A failed command may have rotated the role if only the answer was lost. A command may also
// succeed after an interruption, because Vault repeats a request whose plugin died.
func (w *world) requireWhole(t *testing.T, before issued, result lab.Result) issued {
	t.Helper()
	after := w.current(t)
	t.Logf("the command ended with %d, and version %d is current", result.Code, after.version)
	if result.Code == 0 || after.ID != before.ID {
		require.NotEqual(t, before.ID, after.ID)
		require.Equal(t, before.version+1, after.version)
	} else {
		requireSame(t, before, after)
	}
	w.requireAccepted(t, after.Token)
	w.requireAccepted(t, before.Token)
	w.requireAllTracked(t)
	return after
}

// requireOnlyCurrentLeft rotates once more, ends all revocations, and asserts that only the role's current
// service user exists.
func (w *world) requireOnlyCurrentLeft(t *testing.T) {
	t.Helper()
	before := w.current(t)
	w.vault(t, "write", "modal/rotate/gpu", "grace_period=0")
	after := w.current(t)
	require.Equal(t, before.version+1, after.version)
	w.requireAllTracked(t)
	w.endAll(t)
	require.Equal(t, after.ID, w.onlyUser(t).TokenID)
	w.requireAccepted(t, after.Token)
}

// rotateSlowly starts to rotate the role gpu and returns while the named RPC waits.
func (w *world) rotateSlowly(t *testing.T, rpc string, committed bool) <-chan lab.Result {
	t.Helper()
	require.NoError(t, w.emulator.Delay(w.ctx, rpc, long, committed))
	done := make(chan lab.Result, 1)
	cli := w.CLI
	go func() {
		result, err := cli.Run(w.ctx, "", "write", "-f", "modal/rotate/gpu")
		if err != nil {
			result = lab.Result{Code: -1, Stderr: err.Error()}
		}
		done <- result
	}()
	require.NoError(t, lab.Until(w.ctx, "the rotation to call "+rpc, func() error {
		state, err := w.emulator.State(w.ctx)
		if err != nil {
			return err
		}
		for _, call := range state.Calls {
			if call.Method == rpc && call.Code == "Unknown" {
				return nil
			}
		}
		return fmt.Errorf("Modal has received %d calls, and none of them is waiting", len(state.Calls))
	}))
	return done
}

// killPlugin kills the only plugin process and returns when the process is dead.
func (w *world) killPlugin(t *testing.T) int {
	t.Helper()
	running, err := w.PluginPIDs()
	require.NoError(t, err)
	require.Len(t, running, 1)
	require.NoError(t, syscall.Kill(running[0], syscall.SIGKILL))
	require.NoError(t, lab.Until(w.ctx, "the plugin to die", func() error {
		if syscall.Kill(running[0], 0) == nil {
			return errors.New("the plugin still runs as process " + strconv.Itoa(running[0]))
		}
		return nil
	}))
	return running[0]
}
