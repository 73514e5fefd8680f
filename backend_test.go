// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

const (
	day = 24 * time.Hour
	// unfinishedAfter is the age at which the engine deletes the service user of an unfinished creation.
	unfinishedAfter = 10 * time.Minute
	// maxBackOff is the longest wait between two attempts.
	maxBackOff = 6 * time.Hour
)

// start is the time at which the clock of every test begins. The clock moves only when the test advances it.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type fakeClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// sleep advances the clock instead of waiting.
func (c *fakeClock) sleep(ctx context.Context, d time.Duration) error {
	c.advance(d)
	return ctx.Err()
}

// pairData returns token_id and token_secret of a token as request data.
func tokenData(t modaltest.Token) map[string]any {
	return map[string]any{"token_id": t.ID, "token_secret": t.Secret}
}

// also returns a copy of data with more fields, given as name, value, name, value.
func also(data map[string]any, more ...any) map[string]any {
	data = maps.Clone(data)
	for i := 0; i < len(more); i += 2 {
		name, _ := more[i].(string)
		data[name] = more[i+1]
	}
	return data
}

func errorText(resp *logical.Response) string {
	if resp == nil || resp.Data["error"] == nil {
		return ""
	}
	text, _ := resp.Data["error"].(string)
	return text
}

// lockedBuffer collects the log: the logger writes while tests read.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func TestFactory_RefusesToStartWithHTTP2DebugLogging(t *testing.T) { //nolint:paralleltest // the environment is the process's
	conf := &logical.BackendConfig{StorageView: &logical.InmemStorage{}, System: &logical.StaticSystemView{}}
	for _, godebug := range []string{"http2debug=2", "http2debug=1", "madvdontneed=1,http2debug=2"} {
		t.Setenv("GODEBUG", godebug)
		_, err := Factory(t.Context(), conf)
		require.ErrorContains(t, err, "the plugin does not start while the environment variable GODEBUG has http2debug", godebug)
		require.ErrorContains(t, err, "start Vault without http2debug in GODEBUG", godebug)
	}
	for _, godebug := range []string{"", "http2debug=0", "http2client=0"} {
		t.Setenv("GODEBUG", godebug)
		b, err := Factory(t.Context(), conf)
		require.NoError(t, err, godebug)
		b.Cleanup(t.Context())
	}
}

func TestFactory_ServesInMetadataModeWithoutStorageCalls(t *testing.T) {
	t.Setenv(pluginutil.PluginMetadataModeEnv, "true")
	storage := newCutStorage()
	b, err := Factory(t.Context(), &logical.BackendConfig{StorageView: storage, System: &logical.StaticSystemView{}})
	require.NoError(t, err)
	require.Equal(t, logical.TypeLogical, b.Type())
	require.Zero(t, storage.calls())
}

func TestSecrets_AreSealWrappedAtRest(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	m.write("rotate/ci", m.newToken())
	m.write("config", m.newToken())
	wrapped := m.SpecialPaths().SealWrapStorage
	for key, value := range m.storage.snapshot(t) {
		if !strings.Contains(value, "token_secret") {
			continue
		}
		covered := false
		for _, prefix := range wrapped {
			covered = covered || key == prefix || (strings.HasSuffix(prefix, "/") && strings.HasPrefix(key, prefix))
		}
		require.True(t, covered, "%s contains a secret and is not seal-wrapped by %v", key, wrapped)
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

// textIn returns a text field of a request or an answer, "" if the field is missing.
func textIn(data map[string]any, name string) string {
	text, _ := data[name].(string)
	return text
}
