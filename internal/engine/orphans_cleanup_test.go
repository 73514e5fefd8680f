// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// leavingCaller is storage whose caller goes away while orphans are written.
type leavingCaller struct {
	logical.Storage

	leave func()
}

func (d *leavingCaller) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if entry.Key == state.KeyOutOfSync {
		d.leave()
	}
	return d.Storage.Put(ctx, entry)
}

func TestOrphans_AcceptSucceedsAlthoughTheCallerLeft(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	_, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	h.advance(time.Hour)
	ctx, leave := context.WithCancel(t.Context())
	h.restartOver(&leavingCaller{h.storage, leave})

	done, err := h.engine.Orphans.Cleanup(ctx, revocation.CleanupRequest{Accept: true})

	require.NoError(t, err)
	require.Len(t, done.Chosen, 1)
	require.False(t, done.OutOfSync)
}

func TestOrphans_AreDeletedOnlyInTheWorkspaceThatListedThem(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	stranger, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	h.advance(time.Hour)
	elsewhere := h.modal.AddWorkspace("initech").AddMember("mallory")
	gate := h.gateAt("ServiceUserList")
	cleanup := h.begin(t.Context(), func(ctx context.Context) error {
		_, failed := h.engine.Orphans.Cleanup(ctx, revocation.CleanupRequest{})
		return failed
	})
	gate.await()
	h.configure(model.ConfigWrite{Supplied: bringing(elsewhere.NewToken()), Force: true})
	gate.open()
	_ = cleanup.answer()

	require.True(t, h.accepts(stranger))
	require.NotNil(t, h.revocation("vault-2f9f1a7c-gpu-aaaaaaaa"), "a service user that is left must keep its revocation")
}

func TestOrphans_ManyAtASlowModalAreLeftToTheWorkerInTime(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		var strangers []modaltest.Token
		for i := range 8 {
			stranger, err := b.workspace.CreateServiceUser(fmt.Sprintf("vault-2f9f1a7c-gpu-aaaaaaa%d", i))
			require.NoError(b.t, err)
			strangers = append(strangers, stranger)
		}
		b.pass(time.Hour)
		b.modal.Inject("*", modaltest.Fault{Delay: 5 * time.Second, Times: -1})
		began := time.Now()

		done, err := b.engine.Orphans.Cleanup(b.t.Context(), revocation.CleanupRequest{})

		require.NoError(b.t, err)
		require.LessOrEqual(b.t, time.Since(began), state.ForceBudget+state.BriefBudget)
		require.NotEmpty(b.t, done.Ended)
		require.NotEmpty(b.t, done.Left)
		require.Len(b.t, append(done.Ended, done.Left...), len(strangers))
		b.modal.ClearFaults()
		b.ticks(10 * time.Minute)
		for _, stranger := range strangers {
			require.False(b.t, b.accepts(stranger))
		}
	})
}

func TestOrphans_DeletedAreReportedWhileTheGuardIsBusy(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		stranger, err := b.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
		require.NoError(b.t, err)
		b.pass(time.Hour)
		unlock, err := b.engine.Guard.Lock(b.t.Context())
		require.NoError(b.t, err)
		defer unlock()

		done, err := b.engine.Orphans.Cleanup(b.t.Context(), revocation.CleanupRequest{})

		require.NoError(b.t, err)
		require.Equal(b.t, []string{"vault-2f9f1a7c-gpu-aaaaaaaa"}, done.Ended)
		require.False(b.t, b.accepts(stranger))
	})
}

// slowEntry is storage that needs five seconds for one key.
type slowEntry struct {
	logical.Storage

	key string
}

func (s *slowEntry) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	entry, err := s.Storage.Get(ctx, key)
	if key == s.key {
		_ = waitFor(ctx, 5*time.Second)
	}
	return entry, err
}

func TestOrphans_OneRequestAcceptsNoneThatAnotherDeletes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		orphan, err := b.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
		require.NoError(b.t, err)
		b.pass(time.Hour)
		b.disk.Storage = &slowEntry{b.storage, state.KeyOutOfSync}
		accepted := make(chan error)
		go func() {
			_, failed := b.engine.Orphans.Cleanup(b.t.Context(), revocation.CleanupRequest{Accept: true, Names: []string{"vault-2f9f1a7c-gpu-aaaaaaaa"}})
			accepted <- failed
		}()
		require.NoError(b.t, waitFor(b.t.Context(), time.Second))

		_, err = b.engine.Orphans.Cleanup(b.t.Context(), revocation.CleanupRequest{})

		require.NoError(b.t, err)
		require.NoError(b.t, <-accepted)
		require.True(b.t, b.accepts(orphan), "one request said that it accepted the orphan, and the other deleted it")
	})
}
