// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// person is a person who uses Modal's own command line at a terminal and the emulator's page in a browser.
type person struct {
	*world
	client lab.Client
}

func newPerson(t *testing.T) *person {
	t.Helper()
	client, err := tools.PythonClient(testContext(t))
	if err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "CI needs Modal's python client: %v", err)
		t.Skipf("Modal's python client can't be installed here, so this is NOT TESTED: %v", err)
	}
	return &person{newLab(t), client}
}

// run runs the modal command to its end. The command cannot open a browser.
func (p *person) run(args ...string) (lab.Result, error) {
	return p.lab.RunClient(p.ctx, p.client, args, "MODAL_SERVER_URL="+p.emulator.URL, "BROWSER=none", "NO_COLOR=1", "COLUMNS=200")
}

// do runs a command that must succeed.
func (p *person) do(t *testing.T, args ...string) string {
	t.Helper()
	result, err := p.run(args...)
	require.NoError(t, err)
	require.NoError(t, result.Err(), lab.Mask(strings.Join(args, " ")))
	return result.Stdout
}

// browse runs a command that waits for a browser. decide is what the person does with the flow in the
// browser.
func (p *person) browse(t *testing.T, decide func(lab.Flow) error, args ...string) lab.Result {
	t.Helper()
	type outcome struct {
		result lab.Result
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		result, err := p.run(args...)
		ended <- outcome{result, err}
	}()
	var flow lab.Flow
	require.NoError(t, lab.Until(p.ctx, "modal "+strings.Join(args, " ")+" to begin a token flow", func() error {
		state, err := p.emulator.State(p.ctx)
		if err != nil {
			return err
		}
		for _, flow = range state.Flows {
			if flow.State == "waiting" {
				return nil
			}
		}
		return errors.New("no token flow waits")
	}))
	require.NoError(t, decide(flow))
	end := <-ended
	require.NoError(t, end.err)
	require.Contains(t, end.result.Stdout, flow.URL)
	require.Contains(t, end.result.Stdout, "Enter this code: "+flow.Code)
	return end.result
}

func (p *person) approve(flow lab.Flow) error { return p.emulator.Approve(p.ctx, flow, "operator") }

// token returns the token in the person's .modal.toml.
func (p *person) token(t *testing.T) lab.Token {
	t.Helper()
	var profiles map[string]struct {
		ID     string `toml:"token_id"`
		Secret string `toml:"token_secret"`
	}
	require.NoError(t, toml.Unmarshal([]byte(p.text(t, filepath.Join(p.lab.Dir, "home", ".modal.toml"))), &profiles))
	require.Len(t, profiles, 1)
	return lab.Token(profiles["demo"])
}

// calls returns the RPCs that the emulator received while f ran.
func (p *person) calls(t *testing.T, f func()) []string {
	t.Helper()
	before, err := p.emulator.State(p.ctx)
	require.NoError(t, err)
	f()
	after, err := p.emulator.State(p.ctx)
	require.NoError(t, err)
	var methods []string
	for _, call := range after.Calls[len(before.Calls):] {
		methods = append(methods, call.Method)
	}
	return methods
}

func TestModalCLI_CreatesAndRotatesAMemberTokenInABrowser(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	made := []string{"TokenFlowCreate", "TokenFlowWait", "ClientHello", "WorkspaceNameLookup"}
	require.Equal(t, made, p.calls(t, func() {
		require.NoError(t, p.browse(t, p.approve, "token", "new", "--expires-in", "12h").Err())
	}))
	first := p.token(t)
	p.requireAccepted(t, first)
	require.Contains(t, p.do(t, "token", "info"), "Expires at: ")

	require.Equal(t, append(made, "TokenDelete"), p.calls(t, func() {
		require.NoError(t, p.browse(t, p.approve, "token", "rotate").Err())
	}))
	second := p.token(t)
	p.requireRejected(t, first)
	p.requireAccepted(t, second)

	brought := p.newToken(t)
	require.Equal(t, []string{"ClientHello", "WorkspaceNameLookup", "TokenDelete"}, p.calls(t, func() {
		p.do(t, "token", "set", "--token-id", brought.ID, "--token-secret", brought.Secret, "--delete-existing")
	}))
	require.Equal(t, brought.ID, p.token(t).ID)
	p.requireRejected(t, second)
	p.requireAccepted(t, brought)

	denied := p.browse(t, func(flow lab.Flow) error { return p.emulator.Deny(p.ctx, flow) }, "token", "rotate")
	require.Equal(t, 1, denied.Code)
	require.Contains(t, denied.Stderr, "denied")
	require.Equal(t, brought.ID, p.token(t).ID)
	p.requireAccepted(t, brought)
}

func TestModalCLI_ListsDisablesAndDeletesMemberTokens(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	own, other := p.newToken(t), p.newToken(t)
	p.do(t, "token", "set", "--token-id", own.ID, "--token-secret", own.Secret)
	listed := func() (disabled map[string]bool) {
		var tokens []struct {
			ID       string `json:"token_id"`
			Username string `json:"username"`
			Disabled bool   `json:"disabled"`
		}
		require.NoError(t, json.Unmarshal([]byte(p.do(t, "workspace", "member-tokens", "list", "--json")), &tokens))
		disabled = map[string]bool{}
		for _, token := range tokens {
			require.Equal(t, "operator", token.Username)
			disabled[token.ID] = token.Disabled
		}
		return disabled
	}
	require.Equal(t, map[string]bool{own.ID: false, other.ID: false}, listed())

	p.do(t, "workspace", "member-tokens", "disable", "--yes", other.ID)
	require.Equal(t, map[string]bool{own.ID: false, other.ID: true}, listed())
	p.requireRejected(t, other)
	p.do(t, "workspace", "member-tokens", "enable", "--yes", other.ID)
	p.requireAccepted(t, other)

	p.do(t, "workspace", "member-tokens", "delete", "--yes", other.ID)
	require.Equal(t, map[string]bool{own.ID: false}, listed())
	p.requireRejected(t, other)
	again, err := p.run("workspace", "member-tokens", "delete", "--yes", other.ID)
	require.NoError(t, err)
	require.Equal(t, 1, again.Code)
	require.Contains(t, again.Stderr, "not found")
	p.do(t, "workspace", "member-tokens", "delete", "--yes", "--allow-missing", other.ID)
}

func TestModalCLI_ListsAndChangesEnvironmentRoles(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	own := p.newToken(t)
	p.do(t, "token", "set", "--token-id", own.ID, "--token-secret", own.Secret)
	p.do(t, "environment", "roles", "update", "staging", "colleague", "--role", "viewer")
	var roles map[string]map[string]string
	require.NoError(t, json.Unmarshal([]byte(p.do(t, "environment", "roles", "list", "--json", "staging")), &roles))
	require.Equal(t, map[string]map[string]string{
		"users": {"operator": "contributor", "colleague": "viewer"}, "service_users": {},
	}, roles)
}
