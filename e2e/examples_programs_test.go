// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cenkalti/backoff/v5"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// everyExampleProgram runs a test for each language. CI must have all languages.
func everyExampleProgram(t *testing.T, test func(t *testing.T, command []string)) {
	t.Helper()
	for _, language := range lab.Languages {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			command, err := tools.ExampleProgram(testContext(t), language)
			if err != nil {
				require.NotEqual(t, "true", os.Getenv("CI"), "CI must be able to build the %s program: %v", language, err)
				t.Skipf("the %s program can't be built here, so it is NOT TESTED: %v", language, err)
			}
			test(t, command)
		})
	}
}

func TestExamplePrograms_ReplaceTheirClientsWithoutARejectedCall(t *testing.T) {
	t.Parallel()
	everyExampleProgram(t, func(t *testing.T, command []string) {
		t.Helper()
		w := newWorld(t)
		w.haveConfig(t, true)
		for _, role := range []string{"ci", "gpu"} {
			w.vault(t, "write", "modal/roles/"+role, "type=managed", "environment_roles=main=viewer", "refresh_interval=5s")
		}
		id := func(role string) string { return w.read(t, "modal/creds/"+role)["token_id"].(string) }
		old, gpu := id("ci"), id("gpu")
		reader := w.policyToken(t, `path "modal/creds/+" { capabilities = ["read"] }`)

		// The environment and the file hold another account's tokens. The constructor's tokens take
		// precedence.
		inEnvironment, inFile := w.newToken(t), w.newToken(t)
		p := &follower{command: w.program(t, reader, command[0], append(command[1:], "modal/creds/ci", "modal/creds/gpu")...)}
		p.command.Env = append(p.command.Env, w.found(t, inEnvironment, inFile)...)
		p.command.Env = append(p.command.Env, "MODAL_SERVER_URL=http://127.0.0.1:1") // The server that Vault names takes precedence.
		p.start(t)
		w.untilUsed(t, p, old)
		w.untilUsed(t, p, gpu)

		w.vault(t, "write", "-f", "modal/rotate/ci")
		current := id("ci")
		require.NotEqual(t, old, current)
		w.untilUsed(t, p, current)
		w.vault(t, "write", "modal/revocations/"+old, "force=true")
		w.untilUsed(t, p, current)
		w.untilUsed(t, p, gpu)

		require.NoError(t, p.command.Process.Signal(syscall.SIGTERM))
		require.NoError(t, <-p.done, lab.Mask(p.said.String()))
		used := w.listings(t)
		for _, token := range []string{old, gpu, current} {
			require.NotEmpty(t, used[token])
			require.NotContains(t, used[token], "Unauthenticated")
		}
		require.Empty(t, used[inEnvironment.ID])
		require.Empty(t, used[inFile.ID])
		require.Contains(t, p.said.String(), "ci has "+current)
		require.Equal(t, lab.Mask(p.said.String()), p.said.String(), "the program prints a secret")
	})
}

// follower is a running example program.
type follower struct {
	command *exec.Cmd
	said    bytes.Buffer // to be read after the program's end
	done    chan error
}

func (p *follower) start(t *testing.T) {
	t.Helper()
	p.command.Stdout, p.command.Stderr = &p.said, &p.said
	require.NoError(t, p.command.Start())
	p.done = make(chan error, 1)
	go func() { p.done <- p.command.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL) }) // usually gone already
}

func TestExamplePrograms_WithoutAPathUseTheEnvironmentThenTheFile(t *testing.T) {
	t.Parallel()
	everyExampleProgram(t, func(t *testing.T, command []string) {
		t.Helper()
		w := newLab(t)
		w.Vault = &lab.Vault{}
		inEnvironment, inFile := w.newToken(t), w.newToken(t)
		variables := w.found(t, inEnvironment, inFile)
		for _, try := range []struct {
			variables []string
			token     string
		}{{variables, inEnvironment.ID}, {variables[2:], inFile.ID}} {
			before := w.listings(t)
			program := w.program(t, "", command[0], command[1:]...)
			program.Env = append(program.Env, try.variables...)
			said, err := program.CombinedOutput()
			require.NoError(t, err, lab.Mask(string(said)))
			require.Contains(t, string(said), "the token of the environment or the file sees main")
			after := w.listings(t)
			for _, token := range []string{inEnvironment.ID, inFile.ID} {
				require.Equal(t, token == try.token, len(after[token]) > len(before[token]), "the call must use the expected token and no other")
			}
		}
	})
}

func TestExamplePrograms_ShowTheReasonOfVaultForAMissingRole(t *testing.T) {
	t.Parallel()
	everyExampleProgram(t, func(t *testing.T, command []string) {
		t.Helper()
		w := newWorld(t)
		w.haveConfig(t, true)
		w.vault(t, "write", "modal/roles/ci", "type=managed", "environment_roles=main=viewer")
		reader := w.policyToken(t, `path "modal/creds/+" { capabilities = ["read"] }`)
		said, err := w.program(t, reader, command[0], append(command[1:], "modal/creds/cii")...).CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(said), "no role is named")
		require.Contains(t, string(said), "modal/creds/cii")
	})
}

// found returns the environment in which a Modal client finds tokens by itself: the first two variables hold
// one token, the file holds the other.
func (w *world) found(t *testing.T, inEnvironment, inFile lab.Token) []string {
	t.Helper()
	file := filepath.Join(w.lab.Dir, "found.toml")
	text := fmt.Sprintf("[other]\ntoken_id = %q\ntoken_secret = %q\nactive = true\n", inFile.ID, inFile.Secret)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return []string{
		"MODAL_TOKEN_ID=" + inEnvironment.ID, "MODAL_TOKEN_SECRET=" + inEnvironment.Secret,
		"MODAL_CONFIG_PATH=" + file, "MODAL_SERVER_URL=" + w.emulator.URL,
	}
}

// listings returns the codes that each token got for its lists of environments. The programs only list
// environments.
func (w *world) listings(t *testing.T) map[string][]string {
	t.Helper()
	state, err := w.emulator.State(w.ctx)
	require.NoError(t, err)
	codes := map[string][]string{}
	for _, call := range state.Calls {
		if call.Method == "EnvironmentList" {
			codes[call.TokenID] = append(codes[call.TokenID], call.Code)
		}
	}
	return codes
}

// untilUsed waits until the program has used a token two more times.
func (w *world) untilUsed(t *testing.T, p *follower, token string) {
	t.Helper()
	before := len(w.listings(t)[token])
	require.NoError(t, lab.Until(w.ctx, "the program to use "+token, func() error {
		select {
		case err := <-p.done:
			return backoff.Permanent(fmt.Errorf("the program ended with %w: %s", err, lab.Mask(p.said.String())))
		default:
		}
		if len(w.listings(t)[token]) < before+2 {
			return errors.New("the program has not used it yet")
		}
		return nil
	}))
}
