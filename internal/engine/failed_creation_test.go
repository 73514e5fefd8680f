// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/store"
)

func atMostLeases(count int) func(*model.RoleWrite) {
	return func(ask *model.RoleWrite) { ask.Dynamic.MaxLeases = to(count) }
}

func (h *harness) reading(name string) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Leases.Create(ctx, LeaseRequest{Role: name, VaultMax: vaultsMost})
		return err
	}
}

// readFailsAtModal reads a dynamic role, expects an error of Modal and returns the error's text.
func (h *harness) readFailsAtModal(name string) string {
	h.t.Helper()
	err := h.reading(name)(h.t.Context())
	require.Error(h.t, err)
	require.True(h.t, model.IsUpstream(err), err)
	require.False(h.t, model.IsUserError(err), err)
	return err.Error()
}

func TestFailedCreation_IsSettledByTheNextReadAndIsNotCountedAsALease(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]modaltest.Fault{
		"the service user was created":     {Code: codes.Unavailable, AfterCommit: true, Times: -1},
		"the service user was not created": {Code: codes.Unavailable, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.dynamic("job", atMostLeases(1))
			h.modal.Inject("ServiceUserCreate", fault)
			h.modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.Unavailable, Times: -1})
			h.readFailsAtModal("job")
			left := h.queueIDs()
			require.Len(t, left, 1)
			creates := len(h.modal.Calls("ServiceUserCreate"))
			for range 2 {
				require.Contains(t, h.readFailsAtModal("job"), left[0])
			}
			require.Equal(t, left, h.queueIDs(), "a read that fails leaves no further entry")
			require.Len(t, h.modal.Calls("ServiceUserCreate"), creates)

			h.modal.ClearFaults()
			lease := h.lease("job")

			require.Len(t, h.modal.ServiceUsers(), 1)
			require.True(t, h.alive(lease.Cred.ID))
			h.minutes(25)
			require.Equal(t, []string{lease.RevocationID}, h.queueIDs())
		})
	}
}

func TestFailedCreation_DuringAnOutageIsSettledOnceModalAnswers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", atMostLeases(2))
	h.modal.SetOutage(true)
	for range 3 {
		h.readFailsAtModal("job")
	}
	require.Len(t, h.queueIDs(), 1)
	require.Zero(t, h.revocation(h.queueIDs()[0]).Attempts, "an outage must not count as an attempt of the worker")
	h.modal.SetOutage(false)
	h.lease("job")
	h.lease("job")
	require.ErrorContains(t, h.reading("job")(t.Context()), "has 2 leases, and max_leases is 2")
}

// If Modal completes a creation late, the second check finds the service user.
func TestFailedCreation_CompletedLateByModalIsDeletedByTheWorker(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	h.modal.SetOutage(true)
	h.readFailsAtModal("job")
	h.modal.SetOutage(false)
	name := h.queueIDs()[0]
	lease := h.lease("job")
	_, err := h.workspace.CreateServiceUser(name)
	require.NoError(t, err)
	h.minutes(12)
	require.Len(t, h.modal.ServiceUsers(), 1)
	require.Equal(t, []string{lease.RevocationID}, h.queueIDs())
}

func TestFailedCreation_IsNotACreationOfAnotherRunningRead(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", atMostLeases(2))
	made := h.leaseAtGate("job")
	second := h.lease("job")
	require.ErrorContains(t, h.reading("job")(t.Context()), "1 being created by other reads (wait a moment)")
	first := made()
	require.True(t, h.alive(first.Cred.ID))
	require.True(t, h.alive(second.Cred.ID))
}

func TestFailedCreation_OfACrashedProcessIsSettledByTheNextRead(t *testing.T) {
	t.Parallel()
	for at := 2; at <= 3; at++ { // the write of the token that arrived, and the write of the lease
		inBubble(t, func(b *bubble) {
			t := b.t
			b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
			b.dynamic("job", atMostLeases(1))
			b.disk.crashAt(at, false)
			require.Error(t, b.reading("job")(t.Context()))
			require.True(t, b.disk.crashed())
			b.restart()
			lease := b.lease("job")
			require.Len(t, b.modal.ServiceUsers(), 1)
			require.True(t, b.alive(lease.Cred.ID))
		})
	}
}

func TestFailedCreation_IsNotSettledWhilePausedOrOutOfSync(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	h.modal.SetOutage(true)
	h.readFailsAtModal("job")
	h.modal.SetOutage(false)
	h.configure(model.ConfigWrite{Paused: to(true)})
	err := h.reading("job")(t.Context())
	require.True(t, model.IsUserError(err))
	require.ErrorContains(t, err, "vault write modal/config paused=false")
	h.configure(model.ConfigWrite{Paused: to(false)})
	_, err = h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	h.advance(11 * time.Minute)
	require.ErrorContains(t, h.reading("job")(t.Context()), "out of sync")
	require.Len(t, h.queueIDs(), 1)
	_, err = h.engine.Orphans.Cleanup(t.Context(), revocation.CleanupRequest{})
	require.NoError(t, err)
	h.lease("job")
}

func TestFailedCreation_OfAnotherWorkspaceBlocksNoRead(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", atMostLeases(2))
	h.modal.SetOutage(true)
	h.readFailsAtModal("job")
	h.modal.SetOutage(false)
	left := h.queueIDs()[0]
	h.configure(model.ConfigWrite{Force: true, Supplied: bringing(h.modal.AddWorkspace("globex").AddMember("eve").NewToken())})
	h.lease("job")
	err := h.reading("job")(t.Context())
	require.ErrorContains(t, err, "has 2 leases, and max_leases is 2")
	require.ErrorContains(t, err, "vault delete modal/revocations/<id> force=true")
	h.forget(left)
	h.lease("job")
}

func TestMaxLeases_TheErrorNamesACommandForEachKindItCounts(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", atMostLeases(2))
	lost, ended := h.lease("job"), h.lease("job")
	h.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	require.Error(t, h.engine.Leases.End(t.Context(), ended.RevocationID))
	h.modal.ClearFaults()

	err := h.reading("job")(t.Context())

	require.True(t, model.IsUserError(err))
	require.ErrorContains(t, err, "role job has 2 leases, and max_leases is 2")
	require.ErrorContains(t, err, "1 running (to end all: vault lease revoke -prefix modal/creds/job; to end a single lease: vault write modal/revocations/<id> force=true)")
	require.ErrorContains(t, err, "1 ended, but their service users may still exist at Modal (to try again: vault write -f modal/revocations/<id>)")
	require.NoError(t, h.ending(ended.RevocationID, false)(t.Context()))
	h.lease("job")
	require.NoError(t, h.ending(lost.RevocationID, true)(t.Context()))
	h.lease("job")
}

func TestFailedCreation_AReadWithoutOneListsNoStorage(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	counted := &listing{Storage: h.storage}
	h.restartOver(counted)
	h.lease("job")
	first := counted.lists.Load()
	for range 3 {
		h.lease("job")
	}
	require.Equal(t, first, counted.lists.Load())
}

// listing counts how often storage is listed.
type listing struct {
	logical.Storage

	lists atomic.Int64
}

func (l *listing) List(ctx context.Context, prefix string) ([]string, error) {
	l.lists.Add(1)
	return l.Storage.List(ctx, prefix)
}

// unreadableKey is storage that fails for one key.
type unreadableKey struct {
	store.Storage
	key string
}

func (s *unreadableKey) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if key == s.key {
		return nil, errors.New("the disk does not answer")
	}
	return s.Storage.Get(ctx, key)
}

func TestFailedCreation_ThatStorageCannotReadStopsTheNextRead(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"with max_leases": 1, "without max_leases": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.dynamic("job", atMostLeases(limit))
			h.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true})
			h.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
			h.readFailsAtModal("job")
			creates := len(h.modal.Calls("ServiceUserCreate"))
			h.restartOver(&unreadableKey{h.storage, "revocation/" + h.queueIDs()[0]})
			h.modal.ClearFaults()

			err := h.reading("job")(t.Context())

			require.ErrorContains(t, err, "the disk does not answer")
			require.True(t, model.IsStorageError(err), "a failure of storage is the server's")
			require.Len(t, h.modal.Calls("ServiceUserCreate"), creates, "the failed creation must be settled before the next one")
			h.restart()
			h.lease("job")
			require.Len(t, h.modal.ServiceUsers(), 1)
		})
	}
}

// leavingReader is storage whose caller goes away while it reads a revocation.
type leavingReader struct {
	store.Storage
	leave func()
}

func (s *leavingReader) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if strings.HasPrefix(key, "revocation/") {
		s.leave()
		return nil, ctx.Err()
	}
	return s.Storage.Get(ctx, key)
}

func TestFailedCreation_IsNotForgottenIfTheNextReaderLeaves(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	h.modal.SetOutage(true)
	h.readFailsAtModal("job")
	h.modal.SetOutage(false)
	ctx, leave := context.WithCancel(t.Context())
	h.restartOver(&leavingReader{h.storage, leave})
	left := h.queueIDs()

	err := h.reading("job")(ctx)

	require.Error(t, err)
	require.Equal(t, left, h.queueIDs(), "the read must not begin another creation")
}

func TestFailedCreation_EachOfSeveralIsSettledBeforeTheNextCreation(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	gate := h.gateAt("ServiceUserCreate")
	h.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true, Times: -1})
	h.modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	first := h.begin(t.Context(), h.reading("job"))
	gate.await()
	h.readFailsAtModal("job")
	gate.open()
	require.Error(t, first.answer())
	left := h.queueIDs()
	require.Len(t, left, 2)
	h.modal.ClearFaults()
	var second string
	for _, user := range h.modal.ServiceUsers() {
		if user.Name == left[1] {
			second = user.ID
		}
	}
	h.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1, Match: func(call modaltest.Call) bool { return call.Target == second }})

	require.Contains(t, h.readFailsAtModal("job"), left[1])

	require.Len(t, h.modal.ServiceUsers(), 1, "no other service user may be created")
	h.modal.ClearFaults()
	lease := h.lease("job")
	require.Len(t, h.modal.ServiceUsers(), 1)
	require.True(t, h.alive(lease.Cred.ID))
}

func TestFailedCreation_AnUnreadableRevocationStopsNoRead(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	require.NoError(t, h.storage.Put(t.Context(), &logical.StorageEntry{Key: "revocation/ak-0123456789abcdefghijKL", Value: []byte("{")}))
	h.restart()
	h.lease("job")
	require.NoError(t, h.storage.Delete(t.Context(), "revocation/ak-0123456789abcdefghijKL"))
}
