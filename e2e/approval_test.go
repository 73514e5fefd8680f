// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
	"vault-plugin-secrets-modal/internal/modalapi"
)

// terminal is where a person types. It records everything that the vault command prints.
type terminal struct {
	*world
	said strings.Builder
}

// do runs a command that must succeed and returns the data of the answer.
func (p *terminal) do(t *testing.T, args ...string) data {
	t.Helper()
	result := p.run(t, p.CLI, "", append([]string{args[0], "-format=json"}, args[1:]...)...)
	p.said.WriteString(result.Stdout + result.Stderr)
	require.NoError(t, result.Err(), strings.Join(args, " "))
	if strings.TrimSpace(result.Stdout) == "" {
		return nil
	}
	return parse(t, result.Stdout)
}

// refused runs a command that must fail and returns its output.
func (p *terminal) refused(t *testing.T, args ...string) string {
	t.Helper()
	result := p.run(t, p.CLI, "", args...)
	p.said.WriteString(result.Stdout + result.Stderr)
	require.Equal(t, 2, result.Code, strings.Join(args, " "))
	return result.Stderr
}

// requireNoSecret asserts that no secret was printed, logged or audited.
func (p *terminal) requireNoSecret(t *testing.T) {
	t.Helper()
	for what, text := range map[string]string{"a terminal": p.said.String(), "Vault's log": p.file(t, p.Log), "the audit log": p.file(t, p.Audit)} {
		require.False(t, modalapi.HoldsSecret(text), what)
	}
}

// begin starts an approval and returns the flow that the person sees.
func (w *world) begin(t *testing.T, path string, fields ...string) lab.Flow {
	t.Helper()
	args := append([]string{"write", "-format=json", "-f", path}, fields...)
	started := parse(t, w.vault(t, args...))
	require.Equal(t, "waiting", started["state"])
	return lab.Flow{URL: fmt.Sprint(started["url"]), Code: fmt.Sprint(started["code"])}
}

// outcome waits until an approval has ended, as an operator does.
func (w *world) outcome(t *testing.T, path string) data {
	t.Helper()
	var ended data
	require.NoError(t, lab.Until(w.ctx, path+" to end", func() error {
		read, err := w.Run(w.ctx, "", "read", "-format=json", path, "wait=20s")
		if err = errors.Join(err, read.Err()); err != nil {
			return err
		}
		if ended = parse(t, read.Stdout); ended["state"] == "waiting" {
			return errors.New("it waits")
		}
		return nil
	}))
	return ended
}

// approve starts an approval and lets a member approve it in a browser.
func (p *terminal) approve(t *testing.T, path, member string, fields ...string) data {
	t.Helper()
	started := p.do(t, append([]string{"write", "-f", path}, fields...)...)
	flow := lab.Flow{URL: fmt.Sprint(started["url"])}
	require.True(t, strings.HasPrefix(flow.URL, p.emulator.Page+"/token-flow/"), flow.URL)
	require.Regexp(t, `^\w{4}-\w{4}$`, started["code"])
	require.Equal(t, "waiting", p.do(t, "read", path)["state"])
	require.NoError(t, p.emulator.Approve(p.ctx, flow, member))
	ended := p.outcome(t, path)
	fmt.Fprint(&p.said, ended)
	return ended
}

// personal returns the role's current token. Its read is the only command of the test that prints a secret.
func (w *world) personal(t *testing.T) lab.Token {
	t.Helper()
	creds := w.read(t, "modal/creds/personal")
	return lab.Token{ID: fmt.Sprint(creds["token_id"]), Secret: fmt.Sprint(creds["token_secret"])}
}

// awaitGone waits until the engine has seen Modal reject a token and has removed the revocation.
func (w *world) awaitGone(t *testing.T, id string) {
	t.Helper()
	require.NoError(t, lab.Until(w.ctx, "the engine to revoke "+id, func() error {
		if slices.Contains(w.list(t, "modal/revocations"), id) {
			return errors.New("the token is still in the revocation queue")
		}
		return nil
	}))
}

func TestApproval_CreatesAndRotatesARoleAndTheOldTokenDeletesItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := &terminal{world: w}
	p.do(t, "write", "modal/roles/personal", "type=static")
	require.Contains(t, p.refused(t, "read", "modal/creds/personal"), "vault write -f modal/rotate/personal/approval")

	done := p.approve(t, "modal/rotate/personal/approval", "operator")
	require.Equal(t, "done", done["state"], done["reason"])
	first := w.personal(t)
	require.Equal(t, done["token_id"], first.ID)
	w.requireAccepted(t, first)
	require.Equal(t, "operator", p.do(t, "read", "modal/rotate/personal")["identity"])

	done = p.approve(t, "modal/rotate/personal/approval", "operator", "grace_period=5s")
	require.Equal(t, "done", done["state"], done["reason"])
	second := w.personal(t)
	require.NotEqual(t, first.ID, second.ID)
	w.requireAccepted(t, second)
	w.awaitGone(t, first.ID)
	w.requireRejected(t, first)
	w.requireAccepted(t, second)
	require.Equal(t, []string{first.ID}, w.deletions(t), "only the old token calls TokenDelete")
	w.requireQueueEmpty(t)
	p.requireNoSecret(t)
	require.Empty(t, leaked(p.said.String()+w.file(t, w.Log), []lab.Token{first, second}))
}

// deletions returns the token IDs that called TokenDelete.
func (w *world) deletions(t *testing.T) (callers []string) {
	t.Helper()
	for _, call := range w.state(t).Calls {
		if call.Method == "TokenDelete" {
			callers = append(callers, call.TokenID)
		}
	}
	return callers
}

func TestApproval_StoresAndReplacesTheAdminTokenAndDeletesTheOldOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := &terminal{world: w}
	first := p.approve(t, "modal/config/approval", "operator")
	require.Equal(t, "done", first["state"], first["reason"])
	p.do(t, "write", "modal/roles/gpu", "type=managed", "environment_roles=main=viewer")
	config := p.do(t, "read", "modal/config")
	require.Equal(t, first["token_id"], config["token_id"])
	require.Equal(t, true, config["manages_service_users"])

	other := p.approve(t, "modal/config/approval", "colleague")
	require.Equal(t, "refused", other["state"], "a plain user cannot manage service users")
	require.Equal(t, config["token_id"], p.do(t, "read", "modal/config")["token_id"])

	second := p.approve(t, "modal/config/approval", "operator", "grace_period=5s")
	require.Equal(t, "done", second["state"], second["reason"])
	w.awaitGone(t, fmt.Sprint(first["token_id"]))
	require.ElementsMatch(t, []string{fmt.Sprint(other["token_id"]), fmt.Sprint(first["token_id"])}, w.deletions(t))
	require.Equal(t, second["token_id"], p.do(t, "read", "modal/config")["token_id"])
	p.do(t, "write", "modal/rotate/gpu", "grace_period=0")
	w.requireAccepted(t, w.current(t).Token)
	p.requireNoSecret(t)
}

func TestApproval_ByAnotherPersonIsDeletedAndTheRoleKeepsItsToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := &terminal{world: w}
	p.do(t, "write", "modal/roles/personal", "type=static")
	p.approve(t, "modal/rotate/personal/approval", "operator")
	own := w.personal(t)

	refused := p.approve(t, "modal/rotate/personal/approval", "colleague")

	require.Equal(t, "refused", refused["state"])
	for _, said := range []string{"colleague", "operator", "deleted itself"} {
		require.Contains(t, refused["reason"], said)
	}
	require.Equal(t, []string{fmt.Sprint(refused["token_id"])}, w.deletions(t))
	w.requireQueueEmpty(t)
	require.Equal(t, own.ID, w.personal(t).ID)
	w.requireAccepted(t, own)
	p.requireNoSecret(t)
}

func TestApproval_PoliciesSeparateBeginningFromWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vault(t, "write", "modal/roles/personal", "type=static")
	const path = "modal/rotate/personal/approval"
	for _, persona := range []struct {
		policy   string
		attempts []attempt
	}{
		{"approval-beginner.hcl", []attempt{
			mayNot("write", path, "force=true"), mayNot("write", path, "grace_period=0"), mayNot("read", "modal/config"),
			mayNot("write", "-f", "modal/config/approval"), mayNot("read", "modal/creds/personal"), mayNot("read", "modal/roles/personal"),
			mayNot("write", "-f", "modal/rotate/gpu/approval"), mayNot("write", "-f", "modal/rotate/personal"), may("write", "-f", path),
		}},
		{"approval-waiter.hcl", []attempt{
			may("read", path), may("read", path, "wait=1s"), mayNot("write", "-f", path), mayNot("delete", path),
			mayNot("read", "modal/config"), mayNot("read", "modal/creds/personal"),
		}},
	} {
		cli := w.As(w.tokenOf(t, persona.policy))
		for _, try := range persona.attempts {
			w.requireAttempt(t, persona.policy, cli, try)
		}
	}
}

// A call to Modal that never answers must not block a request: Vault's own limit is 90 s, and proxies have
// lower limits.
func TestApproval_NoRequestTakesLongerThanHalfAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vault(t, "write", "modal/roles/personal", "type=static")
	const path = "modal/rotate/personal/approval"
	timed := func(code int, args ...string) time.Duration {
		t.Helper()
		began := time.Now()
		require.Equal(t, code, w.run(t, w.CLI, "", args...).Code, strings.Join(args, " "))
		took := time.Since(began)
		t.Logf("%s took %s", strings.Join(args, " "), took.Round(time.Millisecond))
		require.Less(t, took, 30*time.Second)
		return took
	}
	require.NoError(t, w.emulator.Slow(w.ctx, "TokenFlowWait", time.Hour))
	timed(0, "write", "-f", path)
	require.Greater(t, timed(0, "read", path, "wait=20s"), 19*time.Second, "the read waits as long as its wait field says")
	timed(2, "read", path, "wait=21s")
	timed(0, "delete", path)
	require.NoError(t, w.emulator.Slow(w.ctx, "TokenFlowCreate", time.Hour))
	w.vault(t, "write", "modal/roles/other", "type=static")
	timed(2, "write", "-f", "modal/rotate/other/approval")
	timed(2, "write", "-f", "modal/config/approval")
	// An operator may have raised the time limit of a call.
	w.vault(t, "write", "modal/config", "request_timeout=2m")
	timed(2, "write", "-f", "modal/rotate/other/approval")
}

func TestApproval_SucceedsAfterAPluginCrashOrALeaderChange(t *testing.T) {
	t.Parallel()
	for name, goes := range map[string]func(t *testing.T, w *world, cluster *lab.Cluster){
		"the plugin is killed": func(t *testing.T, w *world, _ *lab.Cluster) {
			t.Helper()
			w.killPlugin(t)
		},
		"the leader steps down": func(t *testing.T, w *world, cluster *lab.Cluster) {
			t.Helper()
			former := w.Name
			w.vault(t, "operator", "step-down")
			w.awaitLeader(t, cluster)
			require.NotEqual(t, former, w.Name)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLab(t)
			cluster, err := w.lab.StartCluster(w.ctx)
			require.NoError(t, err)
			w.nodes = cluster.Nodes
			w.awaitLeader(t, cluster)
			w.enable(t)
			w.vault(t, "write", "modal/roles/personal", "type=static")
			flow := w.begin(t, "modal/rotate/personal/approval")
			goes(t, w, cluster)

			require.NoError(t, w.emulator.Approve(w.ctx, flow, "operator"))
			approved := time.Now()
			// No request reaches the mount, because a request might trigger the work. The emulator's state
			// shows when the engine has verified the token.
			require.NoError(t, lab.Until(w.ctx, "the engine to verify the token", func() error {
				if w.calls(t, "TokenInfoGet") == 0 {
					return errors.New("the engine has not asked who owns the token")
				}
				return nil
			}))
			took := time.Since(approved)
			t.Logf("%s: verified %s after the approval", name, took.Round(time.Millisecond))
			require.Less(t, took, 90*time.Second)
			require.Equal(t, "done", w.outcome(t, "modal/rotate/personal/approval")["state"])
			w.requireAccepted(t, w.personal(t))
			w.requireQueueEmpty(t)
		})
	}
}
