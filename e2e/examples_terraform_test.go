// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hashicorp/hcl"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// endpoint holds what a vault_generic_endpoint with ignore_absent_fields writes and reads.
type endpoint struct {
	path string
	data map[string]any
}

// endpoints returns the resources of the Terraform example. An object with only literals is also valid HCL,
// so the test does not need Terraform.
func endpoints(t *testing.T) []endpoint {
	t.Helper()
	text, err := os.ReadFile("../examples/terraform/roles/main.tf")
	require.NoError(t, err)
	var all []endpoint
	blocks := regexp.MustCompile(`(?ms)^  path += "([^"]+)".*?jsonencode\(\{(.*?)\}\)`)
	for _, block := range blocks.FindAllSubmatch(text, -1) {
		fields := map[string]any{}
		require.NoError(t, hcl.Unmarshal(block[2], &fields))
		for key, value := range fields {
			if object, ok := value.([]map[string]any); ok {
				fields[key] = object[0]
			}
		}
		all = append(all, endpoint{string(block[1]), fields})
	}
	require.Len(t, all, 2)
	return all
}

// newTerraformWorld prepares what the Terraform example expects: an admin token and the role personal.
func newTerraformWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	admin := w.newToken(t)
	require.NoError(t, w.run(t, w.CLI, admin.Secret, "write", "modal/config", "token_id="+admin.ID, "token_secret=-").Err())
	token := w.newToken(t)
	w.must(t, http.MethodPost, "modal/roles/personal", data{"type": "static", "token_id": token.ID, "token_secret": token.Secret})
	return w
}

// The provider (5.11, resource_generic_endpoint.go) writes the object, reads the path and takes the answer's
// values of the written keys. If the two JSON texts differ, it plans a change.
func TestExamples_TerraformPlansNoChangeAfterTheFirstApply(t *testing.T) {
	t.Parallel()
	w := newTerraformWorld(t)
	for _, resource := range endpoints(t) {
		wanted, err := json.Marshal(resource.data)
		require.NoError(t, err)
		for range 2 { // A second apply must change nothing.
			require.NoError(t, w.run(t, w.CLI, string(wanted), "write", resource.path, "-").Err())
			answer, state := w.read(t, resource.path), map[string]any{}
			for key, value := range resource.data {
				state[key] = value
				if told, ok := answer[key]; ok {
					state[key] = told
				}
			}
			got, err := json.Marshal(state)
			require.NoError(t, err)
			require.JSONEq(t, string(wanted), string(got), resource.path)
			require.Equal(t, string(wanted), string(got), resource.path)
		}
	}
	require.Equal(t, json.Number("1"), w.read(t, "modal/creds/ci")["version"], "an apply rotated the token")
	require.Equal(t, json.Number("1"), w.read(t, "modal/creds/personal")["version"], "an apply rotated the token")
}

func TestTerraform_PlansNoChangeAndStoresNoSecretInItsState(t *testing.T) {
	t.Parallel()
	provider, err := exec.LookPath("terraform-provider-vault")
	if err == nil {
		_, err = exec.LookPath("terraform")
	}
	if err != nil {
		t.Skip("terraform or terraform-provider-vault is not on the PATH: another test replays what the provider does")
	}
	w := newTerraformWorld(t)
	settings := filepath.Join(w.lab.Dir, "terraformrc")
	require.NoError(t, os.WriteFile(settings, fmt.Appendf(nil,
		"provider_installation {\n dev_overrides {\n  \"hashicorp/vault\" = %q\n }\n direct {}\n}\n", filepath.Dir(provider)), 0o600))
	terraform := func(folder string, args ...string) (string, error) {
		cmd := w.program(t, w.Token, "terraform", append([]string{"-chdir=" + folder}, args...)...)
		cmd.Env = append(cmd.Env, "TF_CLI_CONFIG_FILE="+settings, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
		output, failed := cmd.CombinedOutput()
		return lab.Mask(string(output)), failed
	}

	roles := w.terraformFolder(t, "roles")
	said, err := terraform(roles, "apply", "-auto-approve", "-no-color")
	require.NoError(t, err, said)
	said, err = terraform(roles, "plan", "-detailed-exitcode", "-no-color")
	require.NoError(t, err, "the second plan is not empty: %s", said)

	runs := w.stub(t, "modal", `echo "$@ $MODAL_TOKEN_ID $MODAL_TOKEN_SECRET"`)
	deploy := w.terraformFolder(t, "deploy")
	require.NoError(t, os.WriteFile(filepath.Join(deploy, "app.py"), []byte("pass\n"), 0o600))
	said, err = terraform(deploy, "apply", "-auto-approve", "-no-color")
	require.NoError(t, err, said)
	creds := w.read(t, "modal/creds/ci")
	requireSecret(t, fmt.Sprintf("deploy app.py %s %s\n", creds["token_id"], creds["token_secret"]), w.text(t, runs))
	for _, folder := range []string{roles, deploy} {
		require.NotContains(t, lab.Mask(w.text(t, filepath.Join(folder, "terraform.tfstate"))), "…", "a secret is in the state")
	}
}

// terraformFolder makes a working copy of a Terraform example.
func (w *world) terraformFolder(t *testing.T, name string) string {
	t.Helper()
	folder := filepath.Join(w.lab.Dir, "terraform-"+name)
	require.NoError(t, os.CopyFS(folder, os.DirFS(filepath.Join("..", "examples", "terraform", name))))
	return folder
}
