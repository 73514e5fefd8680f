// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

// Package e2e tests the promises of the engine from outside: a real Vault server with the plugin as its own
// process, the real vault command, a real Vault Agent and Modal's real clients, against the emulator of
// Modal's control plane.
package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// TestMain prepares these for every test.
var (
	tools         *lab.Tools
	plugin, newer lab.Plugin
	interrupted   <-chan struct{}
)

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	interrupted = ctx.Done()
	// The tests mostly wait for Vault's clock, which ticks once a minute. Twelve tests at once keep two
	// processors busy. A caller's -parallel takes precedence.
	_ = flag.Set("test.parallel", "12")
	code, err := testMain(ctx, m)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func testMain(ctx context.Context, m *testing.M) (code int, err error) {
	if tools, err = lab.BuildTools(ctx, os.Stderr); err != nil {
		return 0, err
	}
	defer func() { _ = tools.Close() }() // at worst a file remains in the temporary directory
	if plugin, err = tools.BuildPlugin(ctx, "v0.1.0"); err != nil {
		return 0, err
	}
	if newer, err = tools.BuildPlugin(ctx, "v0.2.0"); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// world is the Vault and the emulator of one test.
type world struct {
	*lab.Vault
	nodes    []*lab.Vault // the server, or all servers of its cluster
	lab      *lab.Lab
	emulator *lab.Emulator
	ctx      context.Context
}

// data is the data of an answer of Vault.
type data map[string]any

// newWorld starts a Vault with the engine at modal/ and its own emulator.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := newBareWorld(t)
	w.enable(t)
	return w
}

// newBareWorld starts an emulator and a Vault without the plugin.
func newBareWorld(t *testing.T) *world {
	t.Helper()
	w := newLab(t)
	var err error
	w.Vault, err = w.lab.StartVault(w.ctx)
	require.NoError(t, err)
	w.nodes = []*lab.Vault{w.Vault}
	return w
}

// newLab starts only an emulator.
func newLab(t *testing.T) *world {
	t.Helper()
	w := &world{ctx: testContext(t)}
	w.start(t)
	var err error
	w.emulator, err = w.lab.StartEmulator(w.ctx)
	require.NoError(t, err)
	return w
}

// start makes the lab, without any running program.
func (w *world) start(t *testing.T) {
	t.Helper()
	var err error
	w.lab, err = lab.New(tools)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, node := range w.nodes {
			if t.Failed() {
				t.Logf("log of %s above debug level:\n%s", node.Name, logged(node))
			}
		}
		require.NoError(t, w.lab.Close())
	})
}

// enable mounts the engine at modal/ and configures the emulator as its server.
func (w *world) enable(t *testing.T) {
	t.Helper()
	w.vault(t, plugin.RegisterArgs()...)
	w.vault(t, plugin.EnableArgs("modal")...)
	w.vault(t, "write", "modal/config", "server_url="+w.emulator.URL)
}

// testContext returns a context that ends with the test, on an interrupt, and early enough to clean up before
// the deadline of the whole run.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		select {
		case <-interrupted:
			cancel()
		case <-ctx.Done():
		}
	}()
	deadline, ok := t.Deadline()
	if !ok {
		return ctx
	}
	bounded, stop := context.WithDeadline(ctx, deadline.Add(-20*time.Second))
	t.Cleanup(stop)
	return bounded
}

// logged returns a server's masked log without debug and trace lines.
func logged(node *lab.Vault) string {
	log, _ := os.ReadFile(node.Log)
	lines := slices.DeleteFunc(strings.Split(string(log), "\n"), func(line string) bool {
		return !strings.HasPrefix(line, "{") || strings.Contains(line, `"@level":"trace"`) || strings.Contains(line, `"@level":"debug"`)
	})
	return lab.Mask(strings.Join(lines[max(0, len(lines)-20):], "\n"))
}

// run runs the vault command and accepts any result.
func (w *world) run(t *testing.T, cli lab.CLI, stdin string, args ...string) lab.Result {
	t.Helper()
	result, err := cli.Run(w.ctx, stdin, args...)
	require.NoError(t, err)
	return result
}

// vault runs the vault command as root and returns the output. The command must succeed.
func (w *world) vault(t *testing.T, args ...string) string {
	t.Helper()
	result := w.run(t, w.CLI, "", args...)
	require.NoError(t, result.Err(), "vault %s", lab.Mask(strings.Join(args, " ")))
	return result.Stdout
}

// read returns the data of a path, with numbers as json.Number.
func (w *world) read(t *testing.T, path string) data {
	t.Helper()
	return parse(t, w.vault(t, "read", "-format=json", path))
}

// parse returns the data of an answer that the vault command printed as JSON.
func parse(t *testing.T, text string) data {
	t.Helper()
	var answer struct{ Data data }
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&answer))
	return answer.Data
}

// newToken makes a token as an operator would on Modal's page.
func (w *world) newToken(t *testing.T) lab.Token {
	t.Helper()
	token, err := w.emulator.NewToken(w.ctx)
	require.NoError(t, err)
	return token
}

// newRole stores a new token as the static role ci, with optional fields.
func (w *world) newRole(t *testing.T, fields ...string) lab.Token {
	t.Helper()
	token := w.newToken(t)
	args := append([]string{"write", "modal/roles/ci", "type=static", "token_id=" + token.ID, "token_secret=-"}, fields...)
	require.NoError(t, w.run(t, w.CLI, token.Secret, args...).Err())
	return token
}

// rotate rotates the role ci to a new token and returns that token.
func (w *world) rotate(t *testing.T, fields ...string) lab.Token {
	t.Helper()
	token := w.newToken(t)
	args := append([]string{"write", "modal/rotate/ci", "token_id=" + token.ID, "token_secret=-"}, fields...)
	require.NoError(t, w.run(t, w.CLI, token.Secret, args...).Err())
	return token
}

// requireToken asserts that the role ci returns the token. A failure shows no secret.
func (w *world) requireToken(t *testing.T, token lab.Token) data {
	t.Helper()
	creds := w.read(t, "modal/creds/ci")
	require.Equal(t, token.ID, creds["token_id"])
	requireSecret(t, token.Secret, creds["token_secret"])
	return creds
}

// requireSecret compares secret texts byte by byte and shows them masked if they differ.
func requireSecret(t *testing.T, want string, got any) {
	t.Helper()
	if got != want {
		require.Failf(t, "secret texts differ", "want %q\ngot  %q", lab.Mask(want), lab.Mask(fmt.Sprint(got)))
	}
}
