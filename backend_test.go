// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	modalsecrets "vault-plugin-secrets-modal"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestFactory_RefusesToStartWithHTTP2DebugLogging(t *testing.T) { //nolint:paralleltest // the environment is the process's
	conf := &logical.BackendConfig{StorageView: &logical.InmemStorage{}, System: &logical.StaticSystemView{}}
	for _, godebug := range []string{"http2debug=2", "http2debug=1", "madvdontneed=1,http2debug=2"} {
		t.Setenv("GODEBUG", godebug)
		_, err := modalsecrets.Factory(t.Context(), conf)
		require.ErrorContains(t, err, "the plugin does not start while the environment variable GODEBUG has http2debug", godebug)
		require.ErrorContains(t, err, "start Vault without http2debug in GODEBUG", godebug)
	}
	for _, godebug := range []string{"", "http2debug=0", "http2client=0"} {
		t.Setenv("GODEBUG", godebug)
		b, err := modalsecrets.Factory(t.Context(), conf)
		require.NoError(t, err, godebug)
		b.Cleanup(t.Context())
	}
}

func TestFactory_ServesInMetadataModeWithoutStorageCalls(t *testing.T) {
	t.Setenv(pluginutil.PluginMetadataModeEnv, "true")
	storage := mounttest.NewCutStorage()
	b, err := modalsecrets.Factory(t.Context(), &logical.BackendConfig{StorageView: storage, System: &logical.StaticSystemView{}})
	require.NoError(t, err)
	require.Equal(t, logical.TypeLogical, b.Type())
	require.Zero(t, storage.Calls())
}

func TestSecrets_AreSealWrappedAtRest(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	m.Write("rotate/ci", m.NewToken())
	m.Write("config", m.NewToken())
	m.Write("rotate/ci/approval", nil)
	wrapped := m.SpecialPaths().SealWrapStorage
	kinds := map[string]bool{}
	for key, value := range m.Storage.Snapshot(t) {
		if !strings.Contains(value, "token_secret") && !strings.Contains(value, "wait_secret") {
			continue
		}
		kind, _, _ := strings.Cut(key, "/")
		kinds[kind] = true
		covered := false
		for _, prefix := range wrapped {
			covered = covered || key == prefix || (strings.HasSuffix(prefix, "/") && strings.HasPrefix(key, prefix))
		}
		require.True(t, covered, "%s contains a secret and is not seal-wrapped by %v", key, wrapped)
	}
	require.Equal(t, map[string]bool{"config": true, "cred": true, "revocation": true, "approval": true}, kinds)
}
