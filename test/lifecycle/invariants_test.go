// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"errors"
	"net/http"
	"slices"
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

// trackedMount is a mount that remembers every token that its roles returned or that its queue contained.
type trackedMount struct {
	*mounttest.Mount

	current map[string]string // role to token ID, as last observed
	ever    map[string]bool
}

func newTrackedMount(t *testing.T) *trackedMount {
	t.Helper()
	return &trackedMount{Mount: mounttest.NewManaged(t), current: map[string]string{}, ever: map[string]bool{}}
}

// restart starts a new process and ends all faults of Modal.
func (h *trackedMount) restart() {
	h.T.Helper()
	h.Modal.OnCall(nil)
	h.Modal.ClearFaults()
	h.Restart()
}

// request returns a function that sends an operator's request. A test can call the function repeatedly.
func (h *trackedMount) request(op logical.Operation, path string, data map[string]any) func() error {
	return func() error {
		h.T.Helper()
		_, err := h.Handle(op, path, data)
		return err
	}
}

// isNotFound reports whether a request was answered with 404.
func isNotFound(err error) bool {
	coded := logical.HTTPCodedError(nil)
	return errors.As(err, &coded) && coded.Code() == http.StatusNotFound
}

func (h *trackedMount) work() error {
	h.T.Helper()
	_, err := h.HandleRequest(h.T.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: h.Storage, Data: map[string]any{}})
	return err
}

// unlessUndone repeats an undo that has not happened yet.
func (h *trackedMount) unlessUndone(undo func() error) error {
	if version, _ := h.Read("creds/ci")["version"].(int64); version == 3 {
		return nil
	}
	return undo()
}

// dead fails every call of a killed process, with an error that the engine does not retry.
var dead = modaltest.Fault{Code: codes.FailedPrecondition, Message: "the process was killed", Times: -1}

// killAfterCall kills the process as soon as Modal has executed an RPC.
func (h *trackedMount) killAfterCall(method string) {
	h.T.Helper()
	var done atomic.Bool
	h.Modal.OnCall(func(called string) {
		if done.Load() {
			h.Modal.Inject("*", dead)
		}
		if called == method {
			h.Storage.Die()
			done.Store(true)
		}
	})
}

// checkInvariants checks the invariants about tokens that internal/engine/engine.go lists.
func (h *trackedMount) checkInvariants() {
	h.T.Helper()
	before := h.current
	h.observe()
	owners := map[string]string{}
	for role, id := range h.current {
		require.True(h.T, h.alive(id), "role %s returns a token that Modal rejects", role)
		require.Empty(h.T, owners[id], "roles %s and %s share a token", role, owners[id])
		owners[id] = role
	}
	if resp := h.Must(logical.ReadOperation, "config", nil); resp != nil {
		if admin, _ := resp.Data["token_id"].(string); admin != "" {
			owners[admin] = "config"
		}
	}
	queued := map[string]bool{}
	for _, id := range h.List("revocations") {
		queued[id] = true
	}
	for role := range before {
		require.True(h.T, h.current[role] != "" || queued[before[role]] || !h.alive(before[role]), "the token of role %s is lost", role)
	}
	require.Empty(h.T, h.Modal.Orphans(h.TrackedServiceUsers()), "service users that storage does not track")
	for id := range h.ever {
		require.True(h.T, owners[id] != "" || queued[id] || !h.alive(id), "token %s is neither current nor in the revocation queue", id)
	}
}

// checkNothingLeft deletes every old token at Modal, as an operator would. It then expects storage to contain only the
// role and its current token. gone says that no role is left.
func (h *trackedMount) checkNothingLeft(gone bool) {
	h.T.Helper()
	want := []string{"config", "workspace"}
	users := 0
	for role, id := range h.current {
		want = append(want, "role/"+role, "cred/"+role, "token/"+id)
	}
	require.Equal(h.T, gone, len(h.current) == 0)
	for _, token := range h.Modal.Tokens() {
		switch {
		case token.ID == h.current["ci"] && token.Kind == modaltest.KindServiceUser:
			users = 1
		case token.ID != h.current["ci"] && token.Kind == modaltest.KindMember && h.ever[token.ID]:
			h.Modal.DeleteToken(token.ID)
		}
	}
	for range 10 {
		h.Clock.Advance(6 * time.Hour)
		h.Tick()
	}
	left := slices.DeleteFunc(mounttest.MapKeys(h.Storage.Snapshot(h.T)), func(key string) bool {
		// The owner entry of a token that never became current has no effect: the role does not confirm the token.
		id, isOwner := strings.CutPrefix(key, "token/")
		return isOwner && !h.ever[id]
	})
	require.ElementsMatch(h.T, want, left)
	require.Len(h.T, h.Modal.ServiceUsers(), users, "one service user per managed role")
}

// observe records the tokens that the roles return now and the tokens in the revocation queue.
func (h *trackedMount) observe() {
	h.T.Helper()
	h.current = map[string]string{}
	for _, role := range h.List("roles") {
		id, _ := h.Read("creds/" + role)["token_id"].(string)
		h.current[role] = id
		h.ever[id] = true
	}
	for _, id := range h.List("revocations") {
		h.ever[id] = true
	}
}

// alive reports whether Modal still has a token.
func (h *trackedMount) alive(id string) bool {
	for _, token := range h.Modal.Tokens() {
		if token.ID == id {
			return true
		}
	}
	return false
}
