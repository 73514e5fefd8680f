// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// operation is one action of an operator or of the worker.
type operation struct {
	// prepare sets up the mount and returns the action. The test cuts the action at one write or call, and repeats
	// the action until it succeeds.
	prepare func(h *trackedMount) (run func() error)
	// gone says that the action leaves no role.
	gone bool
	// once says that a second run of the action answers 404.
	once bool
}

var managedRole = map[string]any{"type": "managed", "environment_roles": "main=contributor,staging=viewer"}

// operations returns every action that writes to storage or changes something at Modal.
func operations() map[string]operation {
	return map[string]operation{
		"create a role": {prepare: func(h *trackedMount) func() error {
			return h.request(logical.UpdateOperation, "roles/ci", mounttest.Also(h.NewToken(), "type", "static"))
		}},
		"change a role's policy": {prepare: func(h *trackedMount) func() error {
			h.AddRole("ci")
			return h.request(logical.UpdateOperation, "roles/ci", map[string]any{"environment": "main"})
		}},
		"verify an unverified token": {prepare: func(h *trackedMount) func() error {
			token := mounttest.Also(h.NewToken(), "type", "static")
			h.Write("roles/ci", mounttest.Also(token, "verify", false))
			return h.request(logical.UpdateOperation, "roles/ci", token)
		}},
		"rotate": {prepare: func(h *trackedMount) func() error {
			h.AddRole("ci")
			return h.request(logical.UpdateOperation, "rotate/ci", h.NewToken())
		}},
		"rotate twice in a row, the second time without grace": {prepare: func(h *trackedMount) func() error {
			h.AddRole("ci")
			h.Write("rotate/ci", h.NewToken())
			return h.request(logical.UpdateOperation, "rotate/ci", mounttest.Also(h.NewToken(), "grace_period", 0))
		}},
		"correct a wrong secret": {prepare: func(h *trackedMount) func() error {
			token := h.NewToken()
			h.Write("roles/ci", mounttest.Also(token, "token_secret", "as-0000000000000000000000", "type", "static", "verify", false))
			return h.request(logical.UpdateOperation, "rotate/ci", token)
		}},
		"delete a role": {gone: true, prepare: func(h *trackedMount) func() error {
			h.AddRole("ci")
			h.Write("rotate/ci", h.NewToken())
			return h.request(logical.DeleteOperation, "roles/ci", nil)
		}},
		"worker sees a token rejected": {prepare: func(h *trackedMount) func() error {
			old := h.AddRole("ci")
			h.Write("rotate/ci", mounttest.Also(h.NewToken(), "grace_period", 0))
			h.Modal.DeleteToken(old)
			return h.work
		}},
		"worker sees a token accepted": {prepare: func(h *trackedMount) func() error {
			h.AddRole("ci")
			h.Write("rotate/ci", mounttest.Also(h.NewToken(), "grace_period", 0))
			return h.work
		}},
		"worker removes the revocation of a rotation that did not happen": {prepare: func(h *trackedMount) func() error {
			h.AddRole("ci")
			h.Storage.Plan(mounttest.Cut{At: 3, Deadly: true})
			require.ErrorIs(h.T, h.request(logical.UpdateOperation, "rotate/ci", mounttest.Also(h.NewToken(), "grace_period", 0))(), mounttest.ErrCut)
			h.restart()
			return h.work
		}},
		"worker revokes the tokens of a half-finished delete": {gone: true, prepare: func(h *trackedMount) func() error {
			old := h.AddRole("ci", map[string]any{"grace_period": 0})
			h.Storage.Plan(mounttest.Cut{At: 2, Committed: true, Deadly: true})
			require.ErrorIs(h.T, h.request(logical.DeleteOperation, "roles/ci", nil)(), mounttest.ErrCut)
			h.restart()
			h.Modal.DeleteToken(old)
			return h.work
		}},
		"forget a token": {prepare: func(h *trackedMount) func() error {
			old := h.AddRole("ci")
			h.Write("rotate/ci", h.NewToken())
			h.Modal.DeleteToken(old)
			return h.request(logical.DeleteOperation, "revocations/"+old, map[string]any{"force": true})
		}, once: true},
		"configure an admin token": {prepare: func(h *trackedMount) func() error {
			h.AddRole("ci")
			return h.request(logical.UpdateOperation, "config", h.NewToken())
		}},
		"create a managed role": {prepare: func(h *trackedMount) func() error {
			return h.request(logical.UpdateOperation, "roles/ci", managedRole)
		}},
		"rotate a managed role": {prepare: func(h *trackedMount) func() error {
			h.AddManaged("ci", managedRole)
			return h.request(logical.UpdateOperation, "rotate/ci", nil)
		}},
		"rotate a managed role on schedule": {prepare: func(h *trackedMount) func() error {
			h.AddManaged("ci", managedRole)
			h.Clock.Advance(91 * mounttest.Day)
			return h.work
		}},
		"change environment roles": {prepare: func(h *trackedMount) func() error {
			h.AddManaged("ci", managedRole)
			return h.request(logical.UpdateOperation, "roles/ci", map[string]any{"environment_roles": "main=viewer", "rotation_period": "80d"})
		}},
		"undo a rotation of a managed role": {prepare: func(h *trackedMount) func() error {
			h.AddManaged("ci", managedRole)
			h.Write("rotate/ci", map[string]any{"grace_period": "100d"})
			undo := h.request(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true})
			return func() error { return h.unlessUndone(undo) }
		}},
		"delete a managed role": {gone: true, prepare: func(h *trackedMount) func() error {
			h.AddManaged("ci", managedRole)
			h.Write("rotate/ci", nil)
			return h.request(logical.DeleteOperation, "roles/ci", nil)
		}},
		"delete a managed role at once": {gone: true, prepare: func(h *trackedMount) func() error {
			h.AddManaged("ci", managedRole)
			h.Write("rotate/ci", nil)
			return h.request(logical.DeleteOperation, "roles/ci", map[string]any{"force": true})
		}},
		"worker deletes a service user": {prepare: func(h *trackedMount) func() error {
			h.AddManaged("ci", managedRole)
			h.Write("rotate/ci", map[string]any{"grace_period": 0})
			return h.work
		}},
		"worker deletes the service user of an unfinished rotation": {prepare: func(h *trackedMount) func() error {
			h.AddManaged("ci", managedRole)
			h.killAfterCall("ServiceUserCreate")
			require.Error(h.T, h.request(logical.UpdateOperation, "rotate/ci", nil)())
			h.restart()
			h.Clock.Advance(mounttest.UnfinishedAfter)
			return h.work
		}},
	}
}

// cutPoint is a write or a call to Modal at which an operation can be cut.
type cutPoint struct {
	what string
	at   int
	call bool
}

// cutKind says how a write or call fails, and whether the worker or the operator continues.
type cutKind struct {
	name              string
	committed, deadly bool
	workerFirst       bool
}

func cutKinds() (all []cutKind) {
	for _, workerFirst := range []bool{false, true} {
		all = append(all, cutKind{"fails", false, false, workerFirst}, cutKind{"answer lost", true, false, workerFirst},
			cutKind{"killed before", false, true, workerFirst}, cutKind{"killed after", true, true, workerFirst})
	}
	return all
}

// TestCrash_EveryCutLosesNoTokenAndTheNextTrySucceeds tries every kind of cut at every cut point. With -short it
// tries one kind at every third cut point, in turn.
func TestCrash_EveryCutLosesNoTokenAndTheNextTrySucceeds(t *testing.T) {
	t.Parallel()
	all := cutKinds()
	for name, op := range operations() {
		for i, p := range cutPointsOf(t, op) {
			for j, w := range all {
				if testing.Short() && (i%3 != 0 || i/3%len(all) != j) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s/workerFirst=%t", name, p.what, w.name, w.workerFirst), func(t *testing.T) {
					t.Parallel()
					checkCut(t, op, p, mounttest.Cut{At: p.at, Committed: w.committed, Deadly: w.deadly}, w.workerFirst)
				})
			}
		}
	}
}

// cutPointsOf runs an operation without a cut and returns its writes and calls as cut points.
func cutPointsOf(t *testing.T, op operation) []cutPoint {
	t.Helper()
	h := newTrackedMount(t)
	run := op.prepare(h)
	h.Storage.Heal()
	before := len(h.Modal.Calls(""))
	require.NoError(t, run())
	var places []cutPoint
	for i, write := range h.Storage.Recorded() {
		places = append(places, cutPoint{what: fmt.Sprintf("%d %s", i+1, strings.Split(write, "/")[0]), at: i + 1})
	}
	for i, call := range h.Modal.Calls("")[before:] {
		places = append(places, cutPoint{what: fmt.Sprintf("%d call %s", i+1, call.Method), at: i + 1, call: true})
	}
	require.NotEmpty(t, places)
	return places
}

func checkCut(t *testing.T, op operation, p cutPoint, c mounttest.Cut, workerFirst bool) {
	t.Helper()
	h := newTrackedMount(t)
	run := op.prepare(h)
	h.observe()
	if p.call {
		h.cutCall(c)
	} else {
		h.Storage.Plan(c)
	}
	err := run()
	require.True(t, p.call || h.Storage.WasCut(), "the operation did not reach the cut")
	if !p.call && err != nil {
		require.ErrorIs(t, err, mounttest.ErrCut, "the error contains the storage error")
	}
	h.Modal.OnCall(nil)
	h.Modal.ClearFaults()
	if c.Deadly {
		h.restart()
	}
	h.Storage.Heal()
	h.checkInvariants()
	if workerFirst {
		h.Clock.Advance(25 * time.Hour)
		h.Tick()
		h.checkInvariants()
	}
	if err = run(); !op.once || !isNotFound(err) {
		require.NoError(t, err, "the next try")
	}
	h.checkInvariants()
	h.Clock.Advance(25 * time.Hour)
	h.Tick()
	h.checkInvariants()
	h.checkNothingLeft(op.gone)
}

// cutCall cuts one of the next calls to Modal. If the cut is deadly, the process dies with the call and reaches neither
// Modal nor storage after it.
func (h *trackedMount) cutCall(c mounttest.Cut) {
	h.T.Helper()
	var calls atomic.Int64
	h.Modal.OnCall(func(string) {
		switch n := int(calls.Add(1)); {
		case c.Deadly && n == c.At:
			h.Storage.Die()
			if !c.Committed {
				h.Modal.Inject("*", dead)
			}
		case c.Deadly && n == c.At+1 && c.Committed:
			h.Modal.Inject("*", dead)
		case !c.Deadly && n == c.At:
			h.Modal.Inject("*", modaltest.Fault{Code: codes.Unavailable, AfterCommit: c.Committed})
		}
	})
}
