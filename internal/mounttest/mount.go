// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/errutil"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	modalsecrets "vault-plugin-secrets-modal"
	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/state"
)

// Mount is the engine as Vault mounts it, with storage that can fail and an emulated Modal.
type Mount struct {
	*modalsecrets.Backend

	T         *testing.T
	Clock     *FakeClock
	Modal     *modaltest.Server
	Workspace *modaltest.Workspace
	Member    *modaltest.Member
	Storage   *CutStorage
	System    *logical.StaticSystemView
	Events    *logical.MockEventSender
	Logs      *LockedBuffer
	At        string // the mount path, modal/ by default
}

// New mounts the engine and points it at an emulated Modal.
func New(t *testing.T) *Mount {
	t.Helper()
	clock := &FakeClock{At: StartTime}
	m := &Mount{
		T: t, Clock: clock, Modal: modaltest.Start(t, modaltest.WithClock(clock.Now)),
		Storage: NewCutStorage(), Events: logical.NewMockEventSender(), Logs: &LockedBuffer{},
		System: &logical.StaticSystemView{PluginEnvironment: &logical.PluginEnvironment{VaultVersion: "1.21.2"}},
	}
	t.Cleanup(m.requireLinesNameTheMount)
	m.Workspace = m.Modal.AddWorkspace("acme")
	m.Member = m.Workspace.AddMember("alice")
	m.Restart()
	m.Write("config", map[string]any{"server_url": m.Modal.URL()})
	return m
}

// Restart starts a new process with the same storage.
func (m *Mount) Restart() {
	m.T.Helper()
	m.Storage.Heal()
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: m.Logs})
	b, err := modalsecrets.New(m.T.Context(), &logical.BackendConfig{
		Logger: logger, System: m.System, StorageView: m.Storage, EventsSender: m.Events, BackendUUID: "2f9f1a7c-0000-4000-8000-000000000001",
	}, state.Deps{Now: m.Clock.Now, Wait: m.Clock.Sleep, Connect: ConnectWithoutJitter})
	require.NoError(m.T, err)
	m.T.Cleanup(func() { b.Cleanup(context.WithoutCancel(m.T.Context())) })
	m.Backend = b
}

// ConnectWithoutJitter makes a connection whose calls wait only a moment before a retry.
func ConnectWithoutJitter(options modalapi.Options) (state.Modal, error) {
	options.Jitter, options.RetryWait = func() float64 { return 0 }, time.Millisecond
	return modalapi.New(options)
}

// Handle sends a request as Vault does, and checks every successful answer against its documented schema.
func (m *Mount) Handle(op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	m.T.Helper()
	req := &logical.Request{Operation: op, Path: path, Data: maps.Clone(data), Storage: m.Storage, MountPoint: cmp.Or(m.At, "modal/")}
	ctx := m.T.Context()
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
		m.CheckShape(req, resp)
		m.CheckNextStep(req, resp)
	}
	if coded := logical.HTTPCodedError(nil); errors.As(err, &coded) && resp.IsError() {
		err = fmt.Errorf("%s: %w", ErrorText(resp), err) // Vault shows the text of the response
	}
	return resp, err
}

// CheckShape checks a response against the fields that the path documents.
func (m *Mount) CheckShape(req *logical.Request, resp *logical.Response) {
	m.T.Helper()
	documented := m.Route(req.Path).Operations[req.Operation].Properties().Responses[http.StatusOK]
	require.Len(m.T, documented, 1, "%s of %s has no documented answer", req.Operation, req.Path)
	schema.ValidateResponse(m.T, &documented[0], resp, true)
}

// whatToDo matches a next step that begins with an imperative, a command, or "nothing to do".
var whatToDo = regexp.MustCompile(`^(nothing to do\b|vault (write|read|list|delete) |(ask|begin|bring|check|create|delete|get|give|list|look|open|read|replace|rotate|verify|write) )`)

// CheckNextStep checks that the next step of an answer begins with what to do.
func (m *Mount) CheckNextStep(req *logical.Request, resp *logical.Response) {
	m.T.Helper()
	if step, has := resp.Data["next_step"]; has {
		require.Regexp(m.T, whatToDo, step, "%s %s", req.Operation, req.Path)
	}
}

// write, read, list and remove send requests that must succeed.
func (m *Mount) Write(path string, data map[string]any) *logical.Response {
	m.T.Helper()
	return m.Must(logical.UpdateOperation, path, data)
}

func (m *Mount) Read(path string) map[string]any {
	m.T.Helper()
	resp := m.Must(logical.ReadOperation, path, nil)
	require.NotNil(m.T, resp, "%s does not exist", path)
	require.NotContains(m.T, resp.Data, logical.HTTPStatusCode, "%s does not exist", path)
	return resp.Data
}

// List returns the keys of a list that must succeed.
func (m *Mount) List(path string) []string {
	m.T.Helper()
	keys, _ := m.Must(logical.ListOperation, path, nil).Data["keys"].([]string)
	return keys
}

// Remove sends a delete that must succeed.
func (m *Mount) Remove(path string, data map[string]any) *logical.Response {
	m.T.Helper()
	return m.Must(logical.DeleteOperation, path, data)
}

// Must sends a request that must succeed.
func (m *Mount) Must(op logical.Operation, path string, data map[string]any) *logical.Response {
	m.T.Helper()
	resp, err := m.Handle(op, path, data)
	require.NoError(m.T, err, "%s %s: %v", op, path, ErrorText(resp))
	require.False(m.T, resp.IsError(), "%s %s: %v", op, path, ErrorText(resp))
	return resp
}

// Refused sends a request that must fail as the operator's mistake and change nothing. It returns the message.
func (m *Mount) Refused(op logical.Operation, path string, data map[string]any) string {
	m.T.Helper()
	before := m.Storage.Snapshot(m.T)
	resp, err := m.Handle(op, path, data)
	require.True(m.T, resp.IsError(), "%s %s was not refused: %v %v", op, path, resp, err)
	if err != nil {
		require.ErrorIs(m.T, err, logical.ErrInvalidRequest)
	}
	m.UnchangedSince(before)
	return ErrorText(resp)
}

// UnchangedSince compares storage without printing it, because storage contains secrets.
func (m *Mount) UnchangedSince(before map[string]string) {
	m.T.Helper()
	require.True(m.T, maps.Equal(before, m.Storage.Snapshot(m.T)), "the request changed storage")
}

// Failed sends a request that must fail without a mistake of the operator. It returns the status and the text.
func (m *Mount) Failed(op logical.Operation, path string, data map[string]any) (int, string) {
	m.T.Helper()
	before := m.Storage.Snapshot(m.T)
	resp, err := m.Handle(op, path, data)
	require.Error(m.T, err, "%s %s did not fail: %v", op, path, resp)
	m.UnchangedSince(before)
	status, failure := logical.RespondErrorCommon(&logical.Request{Operation: op}, resp, err)
	logical.AdjustErrorStatusCode(&status, failure)
	return status, failure.Error()
}

// Absent reads a path that must not exist. It returns the message that people see.
func (m *Mount) Absent(path string) string {
	m.T.Helper()
	resp, err := m.Handle(logical.ReadOperation, path, nil)
	if coded := logical.HTTPCodedError(nil); errors.As(err, &coded) {
		require.Equal(m.T, http.StatusNotFound, coded.Code(), path)
		return coded.Error()
	}
	require.NoError(m.T, err, path)
	require.NotNil(m.T, resp, path)
	require.Equal(m.T, http.StatusNotFound, resp.Data[logical.HTTPStatusCode], path)
	// Vault's Go client returns an error only if the answer contains more than errors.
	secret, err := api.ParseSecret(strings.NewReader(TextIn(resp.Data, logical.HTTPRawBody)))
	require.Nil(m.T, secret, path)
	require.Error(m.T, err, path)
	return err.Error()
}

// Tick runs the worker, as Vault does once a minute.
func (m *Mount) Tick() {
	m.T.Helper()
	_, err := m.HandleRequest(m.T.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: m.Storage, Data: map[string]any{}})
	require.NoError(m.T, err)
}

// NewToken creates a token of the member alice and returns it as request data.
func (m *Mount) NewToken(opts ...modaltest.TokenOption) map[string]any {
	return TokenData(m.Member.NewToken(opts...))
}

// AddRole creates a static role with a new token, and returns the token's ID.
func (m *Mount) AddRole(name string, more ...map[string]any) string {
	m.T.Helper()
	data := m.NewToken()
	data["type"] = "static"
	for _, extra := range more {
		maps.Copy(data, extra)
	}
	m.Write("roles/"+name, data)
	id, _ := data["token_id"].(string)
	return id
}

// SetReplication changes the kind of node that the mount runs on.
func (m *Mount) SetReplication(state consts.ReplicationState) { m.System.ReplicationStateVal = state }

// EventTypes returns the types of the events so far.
func (m *Mount) EventTypes() []string {
	m.Events.Lock()
	defer m.Events.Unlock()
	var types []string
	for _, event := range m.Events.Events {
		types = append(types, string(event.Type))
	}
	return types
}
