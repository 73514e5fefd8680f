// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestParallel_RequestsForOneRoleStayConsistent(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{model.TypeStatic, model.TypeManaged} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			runInParallel(t, kind == model.TypeManaged)
		})
	}
}

func runInParallel(t *testing.T, managed bool) {
	t.Helper()
	m := mounttest.NewManaged(t)
	secretOf := sync.Map{}
	newToken := func() map[string]any {
		token := m.NewToken()
		secretOf.Store(token["token_id"], token["token_secret"])
		return token
	}
	bring, create := newToken, func() map[string]any { return mounttest.Also(newToken(), "type", "static") }
	if managed {
		bring = func() map[string]any { return map[string]any{} }
		create = func() map[string]any { return managedRole }
	}
	send := func(op logical.Operation, path string, data map[string]any) *logical.Response {
		resp, err := m.HandleRequest(t.Context(), &logical.Request{Operation: op, Path: path, Data: data, Storage: m.Storage, MountPoint: "modal/"})
		if err != nil && !strings.Contains(err.Error(), logical.ErrInvalidRequest.Error()) {
			t.Errorf("%s %s: %v", op, path, err)
		}
		return resp
	}
	jobs := []func(){
		func() {
			if resp := send(logical.ReadOperation, "creds/ci", nil); resp != nil && resp.Data["token_id"] != nil {
				secret, _ := secretOf.LoadOrStore(resp.Data["token_id"], resp.Data["token_secret"])
				if secret != resp.Data["token_secret"] {
					t.Errorf("the secret does not belong to token %v", resp.Data["token_id"])
				}
			}
		},
		func() { send(logical.UpdateOperation, "rotate/ci", mounttest.Also(bring(), "grace_period", 0)) },
		func() { send(logical.UpdateOperation, "roles/ci", map[string]any{"refresh_interval": 60}) },
		func() { send(logical.CreateOperation, "roles/ci", create()) },
		func() { send(logical.DeleteOperation, "roles/ci", nil) },
		func() { send(logical.ReadOperation, "rotate/ci", nil) },
		func() { send(logical.ListOperation, "rotate", nil) },
		func() { send(logical.RollbackOperation, "", map[string]any{}) },
		func() { send(logical.UpdateOperation, "config", map[string]any{"request_timeout": 20}) },
		func() { m.InvalidateKey(t.Context(), "cred/ci") },
	}
	send(logical.CreateOperation, "roles/ci", create())
	var group sync.WaitGroup
	for worker := range 20 {
		group.Go(func() {
			for round := range 15 {
				jobs[0]()
				jobs[(worker+round)%len(jobs)]()
			}
		})
	}
	group.Wait()
	h := &trackedMount{Mount: m, current: map[string]string{}, ever: map[string]bool{}}
	h.observe()
	h.checkInvariants()
}

func TestRotate_TwentyParallelCallsMakeTwentyVersions(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci", map[string]any{"revoke_previous": false})
	var group sync.WaitGroup
	for range 20 {
		token := m.NewToken()
		group.Go(func() {
			resp, err := m.HandleRequest(t.Context(), &logical.Request{Operation: logical.UpdateOperation, Path: "rotate/ci", Data: token, Storage: m.Storage})
			if err != nil || resp.IsError() {
				t.Errorf("rotate: %v %v", resp, err)
			}
		})
	}
	group.Wait()
	require.Equal(t, int64(21), m.Read("creds/ci")["version"])
	require.Len(t, m.List("revocations"), 20)
}

func TestRoles_ParallelCreatesWithOneTokenMakeOneRole(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := mounttest.Also(m.NewToken(), "type", "static")
	var group sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		group.Go(func() {
			_, _ = m.HandleRequest(t.Context(), &logical.Request{Operation: logical.CreateOperation, Path: "roles/" + name, Data: token, Storage: m.Storage})
		})
	}
	group.Wait()
	require.Len(t, m.List("roles"), 1)
}

func TestRoleLock_CallerThatGivesUpGetsServiceUnavailable(t *testing.T) {
	t.Parallel()
	for path, op := range map[string]logical.Operation{
		"roles/ci": logical.DeleteOperation, "rotate/ci": logical.UpdateOperation, "revocations/": logical.UpdateOperation,
	} {
		m := mounttest.NewManaged(t)
		old := m.AddManaged("ci")
		m.Write("rotate/ci", nil)
		before, calls := m.Storage.Snapshot(t), len(m.Modal.Calls(""))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if path == "revocations/" {
			path += old
		}

		resp, err := m.HandleRequest(ctx, &logical.Request{Operation: op, Path: path, Data: map[string]any{}, Storage: m.Storage})

		status, failure := logical.RespondErrorCommon(&logical.Request{Operation: op}, resp, err)
		logical.AdjustErrorStatusCode(&status, failure)
		require.Equal(t, http.StatusServiceUnavailable, status, path)
		require.ErrorContains(t, failure, "another request is still working on role ci")
		m.UnchangedSince(before)
		require.Len(t, m.Modal.Calls(""), calls)
	}
}
