// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNotFound_AReadSaysSoToPeopleAndPrograms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newRole(t)
	for path, says := range map[string]string{
		"modal/creds/nobody":     "no role is named nobody: vault list modal/roles names every role",
		"modal/creds/cii":        "no role is named cii: did you mean ci?",
		"modal/creds/cii/env":    "no role is named cii: did you mean ci?",
		"modal/creds/cii/dotenv": "no role is named cii: did you mean ci?",
		"modal/rotate/cii":       "no role is named cii: did you mean ci?",
		"modal/revocations/ak-x": "the revocation queue has no token ak-x",
		"modal/roles/cii":        "No value found at modal/roles/cii", // Terraform recreates the role because of this text
	} {
		for _, format := range []string{"-format=table", "-format=json", "-field=token_id"} {
			missing := w.run(t, w.CLI, "", "read", format, path)
			require.Equal(t, 2, missing.Code, path)
			require.Empty(t, missing.Stdout, path)
			require.Contains(t, missing.Stderr, says, path)
		}
		wrapped := w.run(t, w.CLI, "", "read", "-wrap-ttl=60s", "-field=wrapping_token", path)
		require.Equal(t, 2, wrapped.Code, path)
		require.Empty(t, wrapped.Stdout, path)

		status, answer := get[struct{ Errors []string }](t, w, path)
		require.Equal(t, http.StatusNotFound, status, path)
		require.Len(t, answer.Errors, 1, path)
		if path == "modal/roles/cii" {
			says = "no role is named cii: did you mean ci?"
		}
		require.Contains(t, answer.Errors[0], says, path)
	}
}

// get reads a path without Vault's Go client, as other programs do.
func get[T any](t *testing.T, w *world, path string) (status int, answer T) {
	t.Helper()
	status, body, err := w.request(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(body, &answer))
	return status, answer
}

// request reads a path as root.
func (w *world) request(path string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, w.Addr+"/v1/"+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("X-Vault-Token", w.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
