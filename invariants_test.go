// SPDX-License-Identifier: MPL-2.0

package modalsecrets

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
)

// history is a mount and every token that one of its roles ever handed out.
type trackedMount struct {
	*mount

	current map[string]string // role to token ID, as last seen
	ever    map[string]bool
}

func newTrackedMount(t *testing.T) *trackedMount {
	t.Helper()
	return &trackedMount{mount: newManagedMount(t), current: map[string]string{}, ever: map[string]bool{}}
}

// restart is a new process, to which Modal answers again.
func (h *trackedMount) restart() {
	h.t.Helper()
	h.modal.OnCall(nil)
	h.modal.ClearFaults()
	h.mount.restart()
}

// request is an operator's, to be sent as often as needed.
func (h *trackedMount) request(op logical.Operation, path string, data map[string]any) func() error {
	return func() error {
		h.t.Helper()
		_, err := h.handle(op, path, data)
		return err
	}
}

// isNotFound reports whether a request was answered with 404.
func isNotFound(err error) bool {
	coded := logical.HTTPCodedError(nil)
	return errors.As(err, &coded) && coded.Code() == http.StatusNotFound
}

func (h *trackedMount) work() error {
	h.t.Helper()
	_, err := h.HandleRequest(h.t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: h.storage, Data: map[string]any{}})
	return err
}

// unlessUndone repeats an undo until there is nothing to undo any more.
func (h *trackedMount) unlessUndone(undo func() error) error {
	if version, _ := h.read("creds/ci")["version"].(int64); version == 3 {
		return nil
	}
	return undo()
}

// dead is what a killed process's calls come to: nothing, and no retries that would only cost time.
var dead = modaltest.Fault{Code: codes.FailedPrecondition, Message: "the process was killed", Times: -1}

// killAfterCall kills the process once Modal has done an RPC.
func (h *trackedMount) killAfterCall(method string) {
	h.t.Helper()
	var done atomic.Bool
	h.modal.OnCall(func(called string) {
		if done.Load() {
			h.modal.Inject("*", dead)
		}
		if called == method {
			h.storage.die()
			done.Store(true)
		}
	})
}

// checkInvariants holds the engine to the promises above the code of backend.go.
func (h *trackedMount) checkInvariants() {
	h.t.Helper()
	before := h.current
	h.see()
	holders := map[string]string{}
	for role, id := range h.current {
		require.True(h.t, h.alive(id), "role %s hands out a token that Modal refuses", role)
		require.Empty(h.t, holders[id], "roles %s and %s share a token", role, holders[id])
		holders[id] = role
	}
	if resp := h.must(logical.ReadOperation, "config", nil); resp != nil {
		if admin, _ := resp.Data["token_id"].(string); admin != "" {
			holders[admin] = "config"
		}
	}
	ledger := map[string]bool{}
	for _, id := range h.list("revocations") {
		ledger[id] = true
	}
	for role := range before {
		require.True(h.t, h.current[role] != "" || ledger[before[role]] || !h.alive(before[role]), "the token of role %s is lost", role)
	}
	require.Empty(h.t, h.modal.Orphans(h.trackedServiceUsers()), "service users that nothing answers for")
	for id := range h.ever {
		require.True(h.t, holders[id] != "" || ledger[id] || !h.alive(id), "token %s is neither current nor in the ledger", id)
	}
}

// checkNothingLeft ends every old token at Modal, as an operator would, and expects storage to hold
// the role and nothing of the past.
func (h *trackedMount) checkNothingLeft(gone bool) {
	h.t.Helper()
	want := []string{"config", "workspace"}
	users := 0
	for role, id := range h.current {
		want = append(want, "role/"+role, "cred/"+role, "token/"+id)
	}
	require.Equal(h.t, gone, len(h.current) == 0)
	for _, token := range h.modal.Tokens() {
		switch {
		case token.ID == h.current["ci"] && token.Kind == modaltest.KindServiceUser:
			users = 1
		case token.ID != h.current["ci"] && token.Kind == modaltest.KindMember && h.ever[token.ID]:
			h.modal.DeleteToken(token.ID)
		}
	}
	for range 10 {
		h.clock.advance(6 * time.Hour)
		h.tick()
	}
	left := slices.DeleteFunc(mapKeys(h.storage.snapshot(h.t)), func(key string) bool {
		// The note for a token that never became current says nothing: its role does not confirm it.
		id, note := strings.CutPrefix(key, "token/")
		return note && !h.ever[id]
	})
	require.ElementsMatch(h.t, want, left)
	require.Len(h.t, h.modal.ServiceUsers(), users, "one live service user a managed role")
}

// see notes what the roles hand out now, and what they handed out before.
func (h *trackedMount) see() {
	h.t.Helper()
	h.current = map[string]string{}
	for _, role := range h.list("roles") {
		id, _ := h.read("creds/" + role)["token_id"].(string)
		h.current[role] = id
		h.ever[id] = true
	}
	for _, id := range h.list("revocations") {
		h.ever[id] = true
	}
}

func (h *trackedMount) alive(id string) bool {
	for _, token := range h.modal.Tokens() {
		if token.ID == id {
			return true
		}
	}
	return false
}
