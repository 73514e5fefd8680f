// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/errutil"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/state"
)

// mount is the engine as Vault mounts it, with storage that can fail and an emulated Modal.
type mount struct {
	*Backend

	t         *testing.T
	clock     *fakeClock
	modal     *modaltest.Server
	workspace *modaltest.Workspace
	member    *modaltest.Member
	storage   *cutStorage
	system    *logical.StaticSystemView
	events    *logical.MockEventSender
	logs      *lockedBuffer
	at        string // the mount path, modal/ by default
}

// newMount mounts the engine and points it at an emulated Modal.
func newMount(t *testing.T) *mount {
	t.Helper()
	clock := &fakeClock{at: start}
	m := &mount{
		t: t, clock: clock, modal: modaltest.Start(t, modaltest.WithClock(clock.now)),
		storage: newCutStorage(), events: logical.NewMockEventSender(), logs: &lockedBuffer{},
		system: &logical.StaticSystemView{PluginEnvironment: &logical.PluginEnvironment{VaultVersion: "1.21.0"}},
	}
	m.workspace = m.modal.AddWorkspace("acme")
	m.member = m.workspace.AddMember("alice")
	m.restart()
	m.write("config", map[string]any{"server_url": m.modal.URL()})
	return m
}

// restart starts a new process with the same storage.
func (m *mount) restart() {
	m.t.Helper()
	m.storage.heal()
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: m.logs})
	b, err := New(m.t.Context(), &logical.BackendConfig{
		Logger: logger, System: m.system, StorageView: m.storage, EventsSender: m.events, BackendUUID: "2f9f1a7c-0000-4000-8000-000000000001",
	}, state.Deps{Now: m.clock.now, Wait: m.clock.sleep, Connect: connectWithoutJitter})
	require.NoError(m.t, err)
	m.t.Cleanup(func() { b.Cleanup(context.WithoutCancel(m.t.Context())) })
	m.Backend = b
}

// connectWithoutJitter makes a connection whose calls wait the shortest time before a retry.
func connectWithoutJitter(options modalapi.Options) (state.Modal, error) {
	options.Jitter = func() float64 { return 0 }
	return modalapi.New(options)
}

// handle sends a request as Vault does, and checks every successful answer against its documented schema.
func (m *mount) handle(op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	m.t.Helper()
	req := &logical.Request{Operation: op, Path: path, Data: maps.Clone(data), Storage: m.storage, MountPoint: cmp.Or(m.at, "modal/")}
	ctx := m.t.Context()
	if op == logical.UpdateOperation {
		_, exists, err := m.HandleExistenceCheck(ctx, req)
		if user := (errutil.UserError{}); errors.As(err, &user) {
			return logical.ErrorResponse(user.Err), logical.ErrInvalidRequest
		}
		if err != nil {
			return nil, err
		}
		if route := m.Route(path); route != nil && route.ExistenceCheck != nil && !exists {
			req.Operation = logical.CreateOperation
		}
	}
	resp, err := m.HandleRequest(ctx, req)
	if err == nil && resp != nil && !resp.IsError() && op != logical.HelpOperation && resp.Data[logical.HTTPStatusCode] == nil {
		m.checkShape(req, resp)
	}
	if coded := logical.HTTPCodedError(nil); errors.As(err, &coded) && resp.IsError() {
		err = fmt.Errorf("%s: %w", errorText(resp), err) // Vault shows the text of the response
	}
	return resp, err
}

func (m *mount) checkShape(req *logical.Request, resp *logical.Response) {
	m.t.Helper()
	documented := m.Route(req.Path).Operations[req.Operation].Properties().Responses[http.StatusOK]
	require.Len(m.t, documented, 1, "%s of %s has no documented answer", req.Operation, req.Path)
	schema.ValidateResponse(m.t, &documented[0], resp, true)
}

// write, read, list and remove send requests that must succeed.
func (m *mount) write(path string, data map[string]any) *logical.Response {
	m.t.Helper()
	return m.must(logical.UpdateOperation, path, data)
}

func (m *mount) read(path string) map[string]any {
	m.t.Helper()
	resp := m.must(logical.ReadOperation, path, nil)
	require.NotNil(m.t, resp, "%s does not exist", path)
	require.NotContains(m.t, resp.Data, logical.HTTPStatusCode, "%s does not exist", path)
	return resp.Data
}

func (m *mount) list(path string) []string {
	m.t.Helper()
	keys, _ := m.must(logical.ListOperation, path, nil).Data["keys"].([]string)
	return keys
}

func (m *mount) remove(path string, data map[string]any) *logical.Response {
	m.t.Helper()
	return m.must(logical.DeleteOperation, path, data)
}

func (m *mount) must(op logical.Operation, path string, data map[string]any) *logical.Response {
	m.t.Helper()
	resp, err := m.handle(op, path, data)
	require.NoError(m.t, err, "%s %s: %v", op, path, errorText(resp))
	require.False(m.t, resp.IsError(), "%s %s: %v", op, path, errorText(resp))
	return resp
}

// refused sends a request that must fail as the operator's mistake and change nothing. It returns the message.
func (m *mount) refused(op logical.Operation, path string, data map[string]any) string {
	m.t.Helper()
	before := m.storage.snapshot(m.t)
	resp, err := m.handle(op, path, data)
	require.True(m.t, resp.IsError(), "%s %s was not refused: %v %v", op, path, resp, err)
	if err != nil {
		require.ErrorIs(m.t, err, logical.ErrInvalidRequest)
	}
	m.unchangedSince(before)
	return errorText(resp)
}

// unchangedSince compares storage without printing it, because storage contains secrets.
func (m *mount) unchangedSince(before map[string]string) {
	m.t.Helper()
	require.True(m.t, maps.Equal(before, m.storage.snapshot(m.t)), "the request changed storage")
}

// failed sends a request that must fail without a mistake of the operator. It returns the status and the text.
func (m *mount) failed(op logical.Operation, path string, data map[string]any) (int, string) {
	m.t.Helper()
	before := m.storage.snapshot(m.t)
	resp, err := m.handle(op, path, data)
	require.Error(m.t, err, "%s %s did not fail: %v", op, path, resp)
	m.unchangedSince(before)
	status, failure := logical.RespondErrorCommon(&logical.Request{Operation: op}, resp, err)
	logical.AdjustErrorStatusCode(&status, failure)
	return status, failure.Error()
}

// absent reads a path that must not exist. It returns the message that people see.
func (m *mount) absent(path string) string {
	m.t.Helper()
	resp, err := m.handle(logical.ReadOperation, path, nil)
	if coded := logical.HTTPCodedError(nil); errors.As(err, &coded) {
		require.Equal(m.t, http.StatusNotFound, coded.Code(), path)
		return coded.Error()
	}
	require.NoError(m.t, err, path)
	require.NotNil(m.t, resp, path)
	require.Equal(m.t, http.StatusNotFound, resp.Data[logical.HTTPStatusCode], path)
	// Vault's Go client returns an error only if the answer contains more than errors.
	secret, err := api.ParseSecret(strings.NewReader(textIn(resp.Data, logical.HTTPRawBody)))
	require.Nil(m.t, secret, path)
	require.Error(m.t, err, path)
	return err.Error()
}

// tick runs the worker, as Vault does once a minute.
func (m *mount) tick() {
	m.t.Helper()
	_, err := m.HandleRequest(m.t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: m.storage, Data: map[string]any{}})
	require.NoError(m.t, err)
}

// newToken creates a token of the member alice and returns it as request data.
func (m *mount) newToken(opts ...modaltest.TokenOption) map[string]any {
	return tokenData(m.member.NewToken(opts...))
}

// addRole creates a static role with a new token, and returns the token's ID.
func (m *mount) addRole(name string, more ...map[string]any) string {
	m.t.Helper()
	data := m.newToken()
	data["type"] = "static"
	for _, extra := range more {
		maps.Copy(data, extra)
	}
	m.write("roles/"+name, data)
	id, _ := data["token_id"].(string)
	return id
}

// setReplication changes the kind of node that the mount runs on.
func (m *mount) setReplication(state consts.ReplicationState) { m.system.ReplicationStateVal = state }

func (m *mount) eventTypes() []string {
	m.events.Lock()
	defer m.events.Unlock()
	var types []string
	for _, event := range m.events.Events {
		types = append(types, string(event.Type))
	}
	return types
}
