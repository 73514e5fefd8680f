// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// leftOwner is a token whose owner a crash left behind.
const leftOwner = "ak-AAAAAAAAAAAAAAAAAAAAAA"

// withLeftOwner returns an engine with a role that was rotated, and the tokens whose owners it needs. Storage also has
// the owner of leftOwner.
func withLeftOwner(t *testing.T) (h *harness, needed []string) {
	t.Helper()
	h = newHarness(t)
	old, next := h.static("ci"), h.member.NewToken()
	h.rotate(model.RotateRequest{Role: "ci", Supplied: bringing(next)})
	require.NoError(t, h.engine.Mount.TokenOwners.Put(t.Context(), leftOwner, &state.TokenOwner{Role: "ci"}))
	return h, []string{old.ID, next.ID}
}

// ownerEntries returns the IDs of the tokens with a stored owner.
func (h *harness) ownerEntries() []string {
	h.t.Helper()
	ids, err := h.engine.Mount.TokenOwners.List(h.t.Context())
	require.NoError(h.t, err)
	return ids
}

func TestTokenOwners_LeftByACrashAreRemovedOnceStorageWorks(t *testing.T) {
	t.Parallel()
	h, needed := withLeftOwner(t)
	disk := &undeletable{h.storage, state.PrefixTokenOwners + leftOwner}
	h.restartOver(disk)
	h.tick()
	require.Contains(t, h.recorded.lines(), "could not delete the stored owners of unused tokens")

	disk.key = ""
	h.tick()

	require.ElementsMatch(t, needed, h.ownerEntries())
}

func TestTokenOwners_LeftByACrashAreRemovedInATickWithTime(t *testing.T) {
	t.Parallel()
	h, needed := withLeftOwner(t)
	h.restart()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, h.engine.Owners.Sweep(ended))
	require.Contains(t, h.ownerEntries(), leftOwner)

	h.tick()

	require.ElementsMatch(t, needed, h.ownerEntries())
}

func TestTokenOwners_OfARoleThatCannotBeReadStay(t *testing.T) {
	t.Parallel()
	h, needed := withLeftOwner(t)
	h.restartOver(&unreadableKey{h.storage, state.PrefixCredentials + "ci"})
	_ = h.engine.Owners.Sweep(t.Context())
	require.Subset(t, h.ownerEntries(), needed)
	h.restart()
	_, err := h.engine.Roles.Write(t.Context(), staticRole("thief", modaltest.Token{ID: needed[1], Secret: h.current("ci").Secret}))
	require.ErrorContains(t, err, "already belongs to another role")
	h.tick()
	require.ElementsMatch(t, needed, h.ownerEntries())
}
