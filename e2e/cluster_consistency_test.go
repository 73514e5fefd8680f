// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// nodeAnswer is an answer of one node.
type nodeAnswer struct {
	status     int
	index      string // X-Vault-Index, which OpenBao returns with a write
	retryAfter string
	version    int64 // of the role's token
}

// askNode sends one request as root to a node, with more headers.
func (w *world) askNode(t *testing.T, node *lab.Vault, method, path string, headers map[string]string) nodeAnswer {
	t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, node.Addr+"/v1/"+path, strings.NewReader("{}"))
	require.NoError(t, err)
	req.Header.Set("X-Vault-Token", w.Token)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var body struct {
		Data struct {
			Version int64 `json:"version"`
		} `json:"data"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
	return nodeAnswer{resp.StatusCode, resp.Header.Get("X-Vault-Index"), resp.Header.Get("Retry-After"), body.Data.Version}
}

// Without headers, a standby of OpenBao may return the previous token.
func TestCluster_AReadWithTheIndexOfARotationIsNeverOlder(t *testing.T) {
	t.Parallel()
	if !tools.OpenBao {
		t.Skip("Vault's standbys forward every read, and Vault without Enterprise refuses X-Vault-Inconsistent")
	}
	w, cluster := newClusterWorld(t)
	w.newManagedRole(t, "grace_period=0")
	standbys := slices.DeleteFunc(slices.Clone(cluster.Nodes), func(node *lab.Vault) bool { return node == w.Vault })
	for _, node := range standbys {
		w.requireReads(t, node)
	}
	older, early := 0, 0
	for range 10 {
		rotated := w.askNode(t, w.Vault, http.MethodPost, "modal/rotate/gpu", nil)
		require.Equal(t, http.StatusOK, rotated.status)
		require.NotEmpty(t, rotated.index)
		index := map[string]string{"X-Vault-Index": rotated.index}
		for _, node := range standbys {
			if w.askNode(t, node, http.MethodGet, "modal/creds/gpu", nil).version < rotated.version {
				older++
			}
			// The standby refuses the read until it has the state of the index.
			read := w.askNode(t, node, http.MethodGet, "modal/creds/gpu", index)
			if read.status == http.StatusTooManyRequests {
				early++
				require.NotEmpty(t, read.retryAfter)
			} else {
				require.Equal(t, http.StatusOK, read.status, node.Name)
				require.Equal(t, rotated.version, read.version, node.Name)
			}
			// The active node answers in place of a standby that does not have that state yet.
			read = w.askNode(t, node, http.MethodGet, "modal/creds/gpu", map[string]string{
				"X-Vault-Index": rotated.index, "X-Vault-Inconsistent": "forward-active-node",
			})
			require.Equal(t, http.StatusOK, read.status, node.Name)
			require.Equal(t, rotated.version, read.version, node.Name)
			require.NoError(t, lab.Until(w.ctx, node.Name+" to have the state of the index", func() error {
				if read := w.askNode(t, node, http.MethodGet, "modal/creds/gpu", index); read.status != http.StatusOK || read.version != rotated.version {
					return fmt.Errorf("the answer is %d with version %d, and version %d is current", read.status, read.version, rotated.version)
				}
				return nil
			}))
		}
	}
	t.Logf("of 20 reads without the index %d were older, of 20 with it %d were refused", older, early)
}
