// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// The logins need GitHub and GitLab, so these tests start after the login and run the rest of the examples.

// newDeployWorld has the dynamic role that the examples read.
func newDeployWorld(t *testing.T) *world {
	t.Helper()
	w := newManagedWorld(t)
	w.vault(t, "write", "modal/roles/deploy", "type=dynamic", "environment_roles=staging=contributor", "ttl=10m", "max_ttl=1h")
	return w
}

func TestExamples_GitHubRevokesItsLeaseAlsoIfTheJobFails(t *testing.T) {
	t.Parallel()
	w := newDeployWorld(t)
	job := githubJob(t, "github-actions-lease.yml")
	login, last := job.login(t), job.Steps[len(job.Steps)-1]
	require.Equal(t, true, login.With["outputToken"], "the last step needs it")
	require.Equal(t, map[string]string{"LOGIN": "${{ steps.vault.outputs.vault_token }}"}, last.Env)
	require.Equal(t, "${{ env.VAULT_ADDR }}", login.With["url"])
	require.Equal(t, "always()", last.If)

	token := w.tokenOf(t, "deploy.hcl")
	masked := w.vaultAction(t, w.As(token), login)
	got := lab.Token{ID: masked["MODAL_TOKEN_ID"], Secret: masked["MODAL_TOKEN_SECRET"]}
	require.Len(t, masked, 2, "only secrets are masked")
	w.requireAccepted(t, got)
	require.Equal(t, w.onlyUser(t).TokenID, got.ID)

	// The action returns the login's token as an output, and only the last step gets it.
	require.Equal(t, map[string]string{"VAULT_ADDR": "https://vault.example.com:8200", "MODAL_ENVIRONMENT": "main"}, job.Env)
	job.Env["VAULT_ADDR"], job.Env["LOGIN"] = w.Addr, token
	end := w.program(t, "", "sh", "-ec", last.Run)
	end.Env = slices.DeleteFunc(end.Env, func(variable string) bool { return strings.HasPrefix(variable, "VAULT_") })
	for name, value := range job.Env {
		end.Env = append(end.Env, name+"="+value)
	}
	said, err := end.CombinedOutput()
	require.NoError(t, err, lab.Mask(string(said)))
	w.awaitNoUsers(t)
	w.requireRejected(t, got)
}

func TestExamples_GitLabRevokesItsLeaseAlsoIfTheJobFails(t *testing.T) {
	t.Parallel()
	w := newDeployWorld(t)
	type job struct {
		Script []string `yaml:"script"`
		After  []string `yaml:"after_script"`
	}
	deploy := documents[map[string]job](t, "gitlab-ci-lease.yml")[0]["deploy"]
	token := w.tokenOf(t, "deploy.hcl")
	require.NoError(t, os.WriteFile(filepath.Join(w.lab.Dir, "vault-header"), []byte("X-Vault-Token: "+token+"\n"), 0o600))
	ran := w.stub(t, "modal", `echo "$@ $MODAL_TOKEN_ID $MODAL_TOKEN_SECRET"; exit 1`)

	job1 := w.program(t, "", "sh", "-ec", strings.Join(deploy.Script, "\n"))
	said, err := job1.CombinedOutput()
	require.Error(t, err, "the job fails: %s", lab.Mask(string(said)))
	words := strings.Fields(w.text(t, ran))
	require.Len(t, words, 4)
	got := lab.Token{ID: words[2], Secret: words[3]}
	w.requireAccepted(t, got)
	require.Equal(t, w.onlyUser(t).TokenID, got.ID)

	said, err = w.program(t, "", "sh", "-ec", strings.Join(deploy.After, "\n")).CombinedOutput()
	require.NoError(t, err, lab.Mask(string(said)))
	w.awaitNoUsers(t)
	w.requireRejected(t, got)
	require.NoFileExists(t, filepath.Join(w.lab.Dir, "modal.env"))
}
