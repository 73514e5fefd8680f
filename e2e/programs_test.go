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

// everyExampleProgram runs a test for each language. CI has to have all of them.
func everyExampleProgram(t *testing.T, test func(t *testing.T, command []string)) {
	t.Helper()
	for _, language := range lab.Languages {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			command, err := tools.ExampleProgram(testContext(t), language)
			if err != nil {
				require.NotEqual(t, "true", os.Getenv("CI"), "CI needs what the %s program needs: %v", language, err)
				t.Skipf("what the %s program needs can't be installed here, so it is NOT TESTED: %v", language, err)
			}
			test(t, command)
		})
	}
}

func TestTheProgramsSwapTheClientsOfTwoAccountsAtARotationWithoutARefusedCall(t *testing.T) {
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

		// Another account's tokens are in the environment and in the file: the constructor's count.
		inEnvironment, inFile := w.newToken(t), w.newToken(t)
		p := &follower{command: w.program(t, reader, command[0], append(command[1:], "modal/creds/ci", "modal/creds/gpu")...)}
		p.command.Env = append(p.command.Env, w.found(t, inEnvironment, inFile)...)
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
		require.Equal(t, lab.Mask(p.said.String()), p.said.String(), "it prints a secret")
	})
}

// follower is a running example program.
type follower struct {
	command *exec.Cmd
	said    bytes.Buffer // to be read when it has ended
	done    chan error
}

func (p *follower) start(t *testing.T) {
	t.Helper()
	p.command.Stdout, p.command.Stderr = &p.said, &p.said
	require.NoError(t, p.command.Start())
	p.done = make(chan error, 1)
	go func() { p.done <- p.command.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL) }) // gone already at best
}

func TestTheProgramsWithoutAPathUseTheEnvironmentAndThenTheFile(t *testing.T) {
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
			require.Contains(t, string(said), "no path sees main")
			after := w.listings(t)
			for _, token := range []string{inEnvironment.ID, inFile.ID} {
				require.Equal(t, token == try.token, len(after[token]) > len(before[token]), "it was another one's call")
			}
		}
	})
}

// found is what a Modal client finds by itself: a token in the environment, the first two, and one in a file.
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

// listings are the codes that each token got for its listings of environments, which is what the programs do.
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

// untilUsed waits until the program has used a token twice more.
func (w *world) untilUsed(t *testing.T, p *follower, token string) {
	t.Helper()
	before := len(w.listings(t)[token])
	require.NoError(t, lab.Until(w.ctx, "the program to use "+token, func() error {
		select {
		case err := <-p.done:
			return backoff.Permanent(fmt.Errorf("it ended with %w: %s", err, lab.Mask(p.said.String())))
		default:
		}
		if len(w.listings(t)[token]) < before+2 {
			return errors.New("it has not yet")
		}
		return nil
	}))
}
