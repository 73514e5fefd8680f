// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
	"vault-plugin-secrets-modal/internal/modalapi"
)

// newApprover returns the approval script with the policies that it needs, and a webhook that forwards the
// texts that it receives.
func (w *world) newApprover(t *testing.T, env ...string) (script *exec.Cmd, told <-chan string) {
	t.Helper()
	texts := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var message struct{ Text string }
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			t.Errorf("the webhook got no JSON: %v", err)
		}
		texts <- message.Text
	}))
	t.Cleanup(hook.Close)
	for _, policy := range []string{"approval-beginner", "approval-waiter"} {
		w.vault(t, "policy", "write", policy, w.example(t, "policies/"+policy+".hcl"))
	}
	token := strings.TrimSpace(w.vault(t, "token", "create", "-policy=approval-beginner", "-policy=approval-waiter", "-field=token"))
	script = w.program(t, token, w.example(t, "approval/modal-approve"))
	script.Env = append(append(script.Env, "WEBHOOK_URL="+hook.URL), env...)
	return script, texts
}

var flowURL = regexp.MustCompile(`http://\S+/token-flow/tf-\w+`)

func TestExamples_ApprovalScriptAsksThroughAWebhookAndReportsTheResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vault(t, "write", "modal/roles/personal", "type=static")
	for _, run := range []struct {
		member string
		fails  bool
		says   []string
	}{
		{"operator", false, []string{"role personal has token ak-", "version 1"}},
		{"colleague", true, []string{"the approval is refused", "colleague", "The role keeps its current token"}},
		{"operator", false, []string{"version 2"}},
	} {
		script, told := w.newApprover(t)
		var said strings.Builder
		script.Stdout, script.Stderr = &said, &said
		require.NoError(t, script.Start())
		ended := make(chan error, 1)
		go func() { ended <- script.Wait() }()
		var text string
		select {
		case text = <-told:
		case err := <-ended:
			require.Fail(t, "the script informed nobody", "%v: %s", err, said.String())
		}
		require.Regexp(t, `role personal.*\(code \w{4}-\w{4}\)`, text)
		require.NoError(t, w.emulator.Approve(w.ctx, lab.Flow{URL: flowURL.FindString(text)}, run.member))
		require.Equal(t, run.fails, <-ended != nil, said.String())
		for _, says := range run.says {
			require.Contains(t, said.String(), says)
		}
		require.False(t, modalapi.HoldsSecret(said.String()))
	}
}

func TestExamples_ApprovalScriptFailsWithoutAnApprovalOrAWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vault(t, "write", "modal/roles/personal", "type=static")
	script, told := w.newApprover(t, "LAPSE_AFTER=1m")
	said, err := script.CombinedOutput()
	require.Len(t, told, 1)
	require.Error(t, err)
	require.Contains(t, string(said), "the approval is lapsed")

	script, _ = w.newApprover(t, "WEBHOOK_URL=http://127.0.0.1:1/")
	said, err = script.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(said), "the webhook did not take the page")
	require.Regexp(t, flowURL, string(said), "the output must contain the page, so that a person can still open it")
}
