// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// Without a ttl in the answer an Agent waits five minutes. The env form has no ttl, so this test leaves it
// out.
func TestAgent_GetsARotationInEachFormWithinTheRefreshInterval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t, "refresh_interval=5s")
	folder := w.approle(t, "reader-toml.hcl")
	w.vault(t, "write", "auth/approle/role/app", "token_policies=forms")
	require.NoError(t, w.run(t, w.CLI, `path "modal/creds/ci/*" { capabilities = ["read"] }`, "policy", "write", "forms", "-").Err())
	login, _, found := strings.Cut(w.text(t, w.example(t, "agent-file.hcl", "/etc/modal-agent", folder)), "template {")
	require.True(t, found)
	files := map[string]string{"dotenv": "dotenv", "toml": "toml", "profile": "toml"}
	var config strings.Builder
	config.WriteString(login)
	for form, key := range files {
		fmt.Fprintf(&config, "template {\n contents = %q\n destination = %q\n perms = \"0600\"\n error_on_missing_key = true\n}\n",
			fmt.Sprintf(`{{ with secret "modal/creds/ci/%s" }}{{ .Data.%s }}{{ end }}`, form, key), filepath.Join(w.lab.Dir, form))
	}
	path := filepath.Join(w.lab.Dir, "forms.hcl")
	require.NoError(t, os.WriteFile(path, []byte(config.String()), 0o600))
	w.background(t, w.program(t, "", tools.Vault, "agent", "-config="+path))

	requireFiles := func(token lab.Token) {
		t.Helper()
		whole := w.toml(token)
		w.until(t, filepath.Join(w.lab.Dir, "toml"), whole)
		w.until(t, filepath.Join(w.lab.Dir, "profile"), strings.TrimSuffix(whole, "active = true\n"))
		w.until(t, filepath.Join(w.lab.Dir, "dotenv"),
			fmt.Sprintf("MODAL_TOKEN_ID=%s\nMODAL_TOKEN_SECRET=%s\nMODAL_SERVER_URL=%s\n", token.ID, token.Secret, w.emulator.URL))
	}
	requireFiles(token)
	requireFiles(w.rotate(t))
}

// Modal's command line reads a .modal.toml and rewrites it when another profile becomes active.
func TestCreds_TomlHasTheSameBytesAsTheFileOfModalsCLI(t *testing.T) {
	t.Parallel()
	modal, err := tools.PythonClient(testContext(t))
	if err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "CI needs Modal's python client: %v", err)
		t.Skipf("Modal's python client can't be installed here, so this is NOT TESTED: %v", err)
	}
	w := newWorld(t)
	w.newRole(t, "environment=staging")
	for _, profile := range []string{"ci", "team.prod", "7", "a-b_C"} {
		w.vault(t, "write", "modal/roles/ci", "profile="+profile)
		text := w.vault(t, "read", "-field=toml", "modal/creds/ci/toml")
		file := filepath.Join(w.lab.Dir, profile+".modal.toml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		activate := w.program(t, "", modal.Program(), "profile", "activate", profile)
		activate.Env = append(activate.Env, "MODAL_CONFIG_PATH="+file)
		said, err := activate.CombinedOutput()
		require.NoError(t, err, lab.Mask(string(said)))
		requireSecret(t, text, w.text(t, file))
	}
}
