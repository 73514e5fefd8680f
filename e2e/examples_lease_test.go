// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// The logins of GitHub and GitLab need those services; from there on each does here what it says.

func TestTheGitHubLeaseExampleEndsItsLeaseAlsoWhenTheJobFails(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	type workflow struct {
		Jobs map[string]struct {
			Steps []struct {
				Uses, Run, If string
				With          map[string]any
			}
		}
	}
	steps := documents[workflow](t, "github-actions-lease.yml")[0].Jobs["deploy"].Steps
	login, last := steps[1], steps[len(steps)-1]
	require.True(t, strings.HasPrefix(login.Uses, "hashicorp/vault-action@"))
	require.Equal(t, true, login.With["exportToken"], "the last step needs it")
	selector := strings.Fields(login.With["secrets"].(string))
	require.Equal(t, []string{"modal/creds/job/env", "*", ";"}, selector)
	require.Equal(t, "always()", last.If)

	token := w.tokenOf(t, "job.hcl")
	env := w.texts(t, w.As(token), selector[0])
	got := lab.Token{ID: env["MODAL_TOKEN_ID"], Secret: env["MODAL_TOKEN_SECRET"]}
	w.requireAccepted(t, got)
	said, err := w.program(t, token, "sh", "-ec", last.Run).CombinedOutput()
	require.NoError(t, err, lab.Mask(string(said)))
	w.awaitNoUsers(t)
	w.requireRefused(t, got)
}

func TestTheGitLabLeaseExampleRunsTheJobWithALeaseAndEndsItAlsoWhenTheJobFails(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	type job struct {
		Script []string `yaml:"script"`
		After  []string `yaml:"after_script"`
	}
	deploy := documents[map[string]job](t, "gitlab-ci-lease.yml")[0]["deploy"]
	token := w.tokenOf(t, "job.hcl")
	require.NoError(t, os.WriteFile(filepath.Join(w.lab.Dir, "vault-header"), []byte("X-Vault-Token: "+token+"\n"), 0o600))
	w.stub(t, "pip", "true")
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
	w.requireRefused(t, got)
	require.NoFileExists(t, filepath.Join(w.lab.Dir, "modal.env"))
}
