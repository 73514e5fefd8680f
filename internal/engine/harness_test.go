// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
	"vault-plugin-secrets-modal/internal/store"
)

// harness is an engine without Vault: storage in memory, an emulated Modal, and a clock. The clock begins at
// start and moves only when a test moves it.
type harness struct {
	t         *testing.T
	engine    *Engine
	past      atomic.Int64
	ahead     atomic.Int64 // how far the engine's clock is ahead
	modal     *modaltest.Server
	workspace *modaltest.Workspace
	member    *modaltest.Member
	storage   *logical.InmemStorage
	recorded  *record
}

// newHarness returns an engine with an admin token. The test fails if a service user remains at Modal that
// neither a role nor a revocation refers to.
func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, storage: &logical.InmemStorage{}, recorded: &record{}}
	h.modal = modaltest.Start(t, modaltest.WithClock(h.clock))
	h.workspace = h.modal.AddWorkspace("acme")
	h.workspace.AddEnvironment("staging")
	h.member = h.workspace.AddMember("alice")
	h.restart()
	h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken()), ServerURL: to(h.modal.URL())})
	h.modal.FailOnOrphans(t, h.trackedServiceUsers)
	return h
}

// restart starts a new process over the same storage.
func (h *harness) restart() {
	h.t.Helper()
	h.restartOver(h.storage)
}

// restartOver starts a new process over the given storage.
func (h *harness) restartOver(storage store.Storage) {
	h.t.Helper()
	h.engine = New(state.Deps{
		Connect: func(o modalapi.Options) (state.Modal, error) {
			o.RetryWait = time.Millisecond
			return modalapi.New(o)
		},
		Storage: storage, MountID: "2f9f1a7c", Emit: h.recorded.event, Wait: h.sleep,
		Now:    func() time.Time { return h.clock().Add(time.Duration(h.ahead.Load())) },
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: h.recorded}),
	})
	h.t.Cleanup(h.engine.Close)
}

func (h *harness) clock() time.Time { return start.Add(time.Duration(h.past.Load())) }

func (h *harness) advance(d time.Duration) { h.past.Add(int64(d)) }

// sleep moves the clock instead of waiting.
func (h *harness) sleep(ctx context.Context, d time.Duration) error {
	h.advance(d)
	return ctx.Err()
}

// to returns the change that sets a field to a value.
func to[T any](value T) model.Change[T] { return model.Change[T]{Set: true, Value: value} }

// bringing returns a token as an operator supplies it.
func bringing(token modaltest.Token) model.Supplied {
	return model.Supplied{Token: &modalapi.Token{ID: token.ID, Secret: token.Secret}, Verify: true}
}

func managedRole(name string, environmentRoles map[string]modalapi.EnvironmentRole) model.RoleWrite {
	return model.RoleWrite{Name: name, Type: to(model.TypeManaged), Access: model.AccessWrite{EnvironmentRoles: to(environmentRoles)}}
}

func staticRole(name string, first modaltest.Token) model.RoleWrite {
	return model.RoleWrite{Name: name, Type: to(model.TypeStatic), Supplied: bringing(first)}
}

// configure, write, rotate, deleteRole, forget (with force) and tick are requests that must succeed.
func (h *harness) configure(ask model.ConfigWrite) {
	h.t.Helper()
	_, err := h.engine.Configs.Write(h.t.Context(), ask)
	require.NoError(h.t, err)
}

func (h *harness) write(ask model.RoleWrite) {
	h.t.Helper()
	_, err := h.engine.Roles.Write(h.t.Context(), ask)
	require.NoError(h.t, err)
}

// managed creates a managed role and returns the ID of its first token.
func (h *harness) managed(name string) string {
	h.t.Helper()
	h.write(managedRole(name, map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor}))
	return h.current(name).ID
}

// static creates a static role and returns its token.
func (h *harness) static(name string) modaltest.Token {
	h.t.Helper()
	token := h.member.NewToken()
	h.write(staticRole(name, token))
	return token
}

func (h *harness) rotate(ask model.RotateRequest) {
	h.t.Helper()
	_, err := h.engine.Rotations.Rotate(h.t.Context(), ask)
	require.NoError(h.t, err)
}

func (h *harness) deleteRole(name string) {
	h.t.Helper()
	_, err := h.engine.Roles.Delete(h.t.Context(), name, false)
	require.NoError(h.t, err)
}

func (h *harness) forget(id string) {
	h.t.Helper()
	_, err := h.engine.Revocations.Remove(h.t.Context(), id, true)
	require.NoError(h.t, err)
}

func (h *harness) tick() {
	h.t.Helper()
	require.NoError(h.t, h.engine.Worker.Tick(h.t.Context()))
}

// minutes calls the worker once a minute for the given number of minutes.
func (h *harness) minutes(count int) {
	h.t.Helper()
	h.ticksEvery(time.Minute, count)
}

// hours calls the worker only once an hour, for promises in which the minute does not matter.
func (h *harness) hours(count int) {
	h.t.Helper()
	h.ticksEvery(time.Hour, count)
}

func (h *harness) ticksEvery(step time.Duration, count int) {
	h.t.Helper()
	for range count {
		h.advance(step)
		h.tick()
	}
}

// current returns a role's credential. A missing credential fails the test.
func (h *harness) current(name string) *model.Credential {
	h.t.Helper()
	_, cred, err := h.engine.Mount.Current(h.t.Context(), name)
	require.NoError(h.t, err)
	require.NotNil(h.t, cred)
	return cred
}

// queueIDs returns the IDs of the revocation queue.
func (h *harness) queueIDs() []string {
	h.t.Helper()
	ids, err := h.engine.Mount.Revocations.List(h.t.Context())
	require.NoError(h.t, err)
	return ids
}

// revocation returns a revocation, or nil if it does not exist.
func (h *harness) revocation(id string) *model.Revocation {
	h.t.Helper()
	entry, err := h.engine.Mount.Revocations.Get(h.t.Context(), id)
	require.NoError(h.t, err)
	return entry
}

// alive reports whether Modal still has a token.
func (h *harness) alive(id string) bool {
	for _, token := range h.modal.Tokens() {
		if token.ID == id {
			return true
		}
	}
	return false
}

// rolesOf returns the environment roles that a token has at Modal.
func (h *harness) rolesOf(id string) map[string]string {
	h.t.Helper()
	for _, user := range h.modal.ServiceUsers() {
		if user.TokenID == id {
			return user.Roles
		}
	}
	h.t.Fatalf("no service user owns token %s", id)
	return nil
}

// snapshot returns the whole storage by key.
func (h *harness) snapshot() map[string]string {
	h.t.Helper()
	keys, err := logical.CollectKeys(h.t.Context(), h.storage)
	require.NoError(h.t, err)
	all := map[string]string{}
	for _, key := range keys {
		raw, err := h.storage.Get(h.t.Context(), key)
		require.NoError(h.t, err)
		all[key] = string(raw.Value)
	}
	return all
}

// unchangedSince compares storage without printing it, because it contains secrets.
func (h *harness) unchangedSince(before map[string]string) {
	h.t.Helper()
	require.True(h.t, maps.Equal(before, h.snapshot()), "storage changed")
}

// trackedServiceUsers returns the service users that storage refers to.
func (h *harness) trackedServiceUsers() (names []string) {
	ctx := context.WithoutCancel(h.t.Context())
	credentials := store.New[model.Credential](h.storage, state.PrefixCredentials, store.Options{})
	entries := store.New[model.Revocation](h.storage, state.PrefixRevocations, store.Options{})
	roles, err := credentials.List(ctx)
	require.NoError(h.t, err)
	for _, name := range roles {
		cred, failed := credentials.Get(ctx, name)
		require.NoError(h.t, failed)
		names = append(names, cred.Identity)
	}
	ids, err := entries.List(ctx)
	require.NoError(h.t, err)
	for _, id := range ids {
		entry, failed := entries.Get(ctx, id)
		require.NoError(h.t, failed)
		names = append(names, entry.Identity)
	}
	return names
}

// record keeps the log and the kinds of the sent events.
type record struct {
	mu    sync.Mutex
	log   strings.Builder
	kinds []string
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *record) event(_ context.Context, event model.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kinds = append(r.kinds, event.Kind)
}

func (r *record) events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.kinds...)
}

func (r *record) lines() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// warnings writes a role and returns the warnings of the answer.
func (h *harness) warnings(ask model.RoleWrite) []string {
	h.t.Helper()
	done, err := h.engine.Roles.Write(h.t.Context(), ask)
	require.NoError(h.t, err)
	return done.Warnings
}
