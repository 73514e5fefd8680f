// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	modalsecrets "vault-plugin-secrets-modal"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/state"
)

// Approved lets a person confirm the approval at a path. It returns a read of the finished approval and the new token.
func (m *Mount) Approved(path string, who *modaltest.Member) (*logical.Response, modaltest.Token) {
	m.T.Helper()
	flows := m.Modal.Flows()
	token, err := m.Modal.ApproveFlow(flows[len(flows)-1].ID, who)
	require.NoError(m.T, err)
	var resp *logical.Response
	require.Eventually(m.T, func() bool {
		resp = m.Must(logical.ReadOperation, path, nil)
		reason, _ := resp.Data["reason"].(string)
		return resp.Data["state"] == "done" || strings.Contains(reason, token.ID+": ")
	}, 10*time.Second, 10*time.Millisecond, "a refusal is stored before its token is deleted")
	return resp, token
}

// Also returns a copy of data with more fields, given as name, value, name, value.
func Also(data map[string]any, more ...any) map[string]any {
	data = maps.Clone(data)
	for i := 0; i < len(more); i += 2 {
		name, _ := more[i].(string)
		data[name] = more[i+1]
	}
	return data
}

// ErrorText returns the text of an error response.
func ErrorText(resp *logical.Response) string {
	if resp == nil || resp.Data["error"] == nil {
		return ""
	}
	text, _ := resp.Data["error"].(string)
	return text
}

// ToJSON returns a value as JSON.
func ToJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

// TextIn returns a text field of a request or an answer, "" if the field is missing.
func TextIn(data map[string]any, name string) string {
	text, _ := data[name].(string)
	return text
}

// Remount starts another process on the same storage, for a benchmark.
func (m *Mount) Remount(b *testing.B) {
	b.Helper()
	var err error
	m.Backend, err = modalsecrets.New(b.Context(), &logical.BackendConfig{
		System: m.System, StorageView: m.Storage, EventsSender: m.Events, BackendUUID: "2f9f1a7c-0000-4000-8000-000000000001",
	}, state.Deps{Now: m.Clock.Now, Wait: m.Clock.Sleep, Connect: ConnectWithoutJitter})
	require.NoError(b, err)
}

// Send sends a request that must succeed, for a benchmark.
func (m *Mount) Send(b *testing.B, op logical.Operation, path string, data map[string]any) *logical.Response {
	b.Helper()
	resp, err := m.HandleRequest(b.Context(), &logical.Request{Operation: op, Path: path, Data: data, Storage: m.Storage, MountPoint: "modal/"})
	if err != nil || resp.IsError() {
		b.Fatalf("%s %s: %v %s", op, path, err, ErrorText(resp))
	}
	return resp
}

// Latencies reads about a thousand times a second until stop returns true, and returns how long each read took.
func (m *Mount) Latencies(b *testing.B, stop func(reads int) bool) []time.Duration {
	b.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	var all []time.Duration
	for !stop(len(all)) {
		<-ticker.C
		began := time.Now()
		m.Send(b, logical.ReadOperation, "creds/role-01999", nil)
		all = append(all, time.Since(began))
	}
	return all
}

// WarningsOf returns the warnings of a write.
func (m *Mount) WarningsOf(path string, data map[string]any) string {
	m.T.Helper()
	resp := m.Write(path, data)
	if resp == nil {
		return ""
	}
	return strings.Join(resp.Warnings, "\n")
}

// LeaseRequest renews or revokes a lease of the role job.
func (m *Mount) LeaseRequest(op logical.Operation, lease *logical.Secret) (*logical.Response, error) {
	return m.HandleRequest(m.T.Context(), &logical.Request{Operation: op, Path: "creds/job", Secret: lease, Storage: m.Storage, MountPoint: cmp.Or(m.At, "modal/")})
}

// LookUp returns the answer to a lookup. The lookup must write nothing and call Modal at most once.
func (m *Mount) LookUp(field, value string) map[string]any {
	m.T.Helper()
	before, calls := m.Storage.Snapshot(m.T), m.Modal.CallCount()
	resp := m.Write("lookup", map[string]any{field: value})
	m.UnchangedSince(before)
	require.LessOrEqual(m.T, m.Modal.CallCount()-calls, 1)
	require.NotContains(m.T, resp.Data, "token_secret")
	require.False(m.T, m.HoldsSecret(fmt.Sprint(resp.Data)))
	return resp.Data
}

// Follow runs a command that an answer recommends.
func (m *Mount) Follow(command string) {
	m.T.Helper()
	command, _, _ = strings.Cut(command, ", or ")
	words := strings.Fields(command)
	require.Equal(m.T, []string{"vault", "write"}, words[:2], command)
	path, data := strings.TrimPrefix(words[2], "modal/"), map[string]any{}
	next := m.NewToken()
	for _, word := range words[3:] {
		field, value, _ := strings.Cut(word, "=")
		switch field {
		case "token_id", "token_secret":
			data[field] = next[field]
		default:
			data[field] = value
		}
	}
	m.Write(path, data)
}

// MapKeys returns the sorted keys of a map.
func MapKeys(m map[string]string) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// Overtaken sends a write whose existence check was overtaken by another request. It returns the refusal.
func (m *Mount) Overtaken(op logical.Operation, path string, data map[string]any) string {
	m.T.Helper()
	before := m.Storage.Snapshot(m.T)
	resp, err := m.HandleRequest(m.T.Context(), &logical.Request{Operation: op, Path: path, Data: data, Storage: m.Storage})
	require.ErrorIs(m.T, err, logical.ErrInvalidRequest)
	m.UnchangedSince(before)
	return ErrorText(resp)
}

// TokensOf returns the lines of a delete's answer, nil if the answer has warnings. A delete gives no warnings.
func TokensOf(resp *logical.Response) []string {
	if resp == nil || len(resp.Warnings) > 0 {
		return nil
	}
	lines, _ := resp.Data["tokens"].([]string)
	return lines
}
