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

// long is more than a test needs to strike in the middle of a call, and less than the engine waits for
// an answer of Modal's.
const long = 10 * time.Second

func TestARotationBrokenOffInTheMiddleKeepsTheOldTokenAndLeavesNobodyBehind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rpc       string
		committed bool
		strike    func(t *testing.T, w *world)
	}{
		"the plugin is killed before it hears of the service user": {"ServiceUserCreate", true, func(t *testing.T, w *world) {
			t.Helper()
			w.killPlugin(t)
		}},
		"Vault is killed while the new token is tried out": {"TokenInfoGet", false, func(t *testing.T, w *world) {
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
			}, "the ledger names the service user that was not finished")
			w.requireNobodyLeft(t)
			w.requireRefused(t, before.Token)
		})
	}
}

func TestSealingInTheMiddleOfARotationLeavesAWholeOne(t *testing.T) {
	t.Parallel()
	w := newManagedWorld(t)
	w.newManagedRole(t)
	before := w.current(t)

	rotation := w.rotateSlowly(t, "EnvironmentRoleSet", false)
	w.vault(t, "operator", "seal")
	require.NoError(t, w.Unseal(w.ctx))
	w.requireWhole(t, before, <-rotation)
	w.requireNobodyLeft(t)
	w.requireRefused(t, before.Token)
}

// requireWhole asserts that a rotation that was disturbed happened once or not at all, and left a token
// that Modal accepts. It may have happened although it failed, when only the answer was lost; and it
// may have succeeded after a disturbance, as Vault repeats a request whose plugin died.
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
	w.requireAnsweredFor(t)
	return after
}

// requireNobodyLeft rotates once more, ends all that the ledger holds, and asserts that the role's
// current service user is the only one.
func (w *world) requireNobodyLeft(t *testing.T) {
	t.Helper()
	before := w.current(t)
	w.vault(t, "write", "modal/rotate/gpu", "grace_period=0")
	after := w.current(t)
	require.Equal(t, before.version+1, after.version)
	w.requireAnsweredFor(t)
	w.endAll(t)
	require.Equal(t, after.ID, w.onlyUser(t).TokenID)
	w.requireAccepted(t, after.Token)
}

// rotateSlowly begins to rotate the role gpu, and returns while Modal takes long over an RPC.
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
		return fmt.Errorf("%d calls so far, and none of it is waiting", len(state.Calls))
	}))
	return done
}

// killPlugin kills the one plugin process, and returns when it is dead.
func (w *world) killPlugin(t *testing.T) int {
	t.Helper()
	running, err := w.PluginPIDs()
	require.NoError(t, err)
	require.Len(t, running, 1)
	require.NoError(t, syscall.Kill(running[0], syscall.SIGKILL))
	require.NoError(t, lab.Until(w.ctx, "the plugin to die", func() error {
		if syscall.Kill(running[0], 0) == nil {
			return errors.New("it still runs as process " + strconv.Itoa(running[0]))
		}
		return nil
	}))
	return running[0]
}
