// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"time"
)

// Client is a program built on a client of Modal, as a user of Modal would have it.
type Client struct {
	// Name is the client's language: go, python or javascript.
	Name string

	program string
	calls   [][]string // the arguments of each run that authenticates
}

// Program returns the path of the client's program: for Python, the modal command.
func (c Client) Program() string { return c.program }

// GoClient returns the program on Modal's Go SDK, which BuildTools has built.
func (t *Tools) GoClient() Client {
	return Client{Name: "go", program: filepath.Join(t.dir, "modal-sdk"), calls: [][]string{nil}}
}

// PythonClient returns the modal command of PyPI. It installs the command if necessary and fails if that is
// impossible.
func (t *Tools) PythonClient(ctx context.Context) (Client, error) {
	return t.install(ctx, "python", []string{"token", "info"}, []string{"environment", "list", "--json"})
}

// JavaScriptClient returns a program on Modal's JavaScript SDK. It installs the program if necessary and
// fails if that is impossible.
func (t *Tools) JavaScriptClient(ctx context.Context) (Client, error) {
	return t.install(ctx, "javascript", nil)
}

func (t *Tools) install(ctx context.Context, name string, calls ...[]string) (Client, error) {
	t.installing.Lock()
	defer t.installing.Unlock()
	program, err := t.output(ctx, filepath.Join(t.root, "e2e", "clients", "install.sh"), name)
	return Client{Name: name, program: program, calls: calls}, err
}

// Authenticate lets the client authenticate in each way that it supports. The given variables are its only
// Modal settings. Each run prints the environments that it sees. If Modal rejects the token, the run exits
// with 1 and prints the reason.
func (l *Lab) Authenticate(ctx context.Context, client Client, variables ...string) ([]Result, error) {
	results := make([]Result, 0, len(client.calls))
	for _, args := range client.calls {
		result, err := l.RunClient(ctx, client, args, variables...)
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return results, nil
}

// RunClient runs the client's program. The given variables and the lab's home directory are its only Modal
// settings.
func (l *Lab) RunClient(ctx context.Context, client Client, args []string, variables ...string) (Result, error) {
	return run(ctx, l.env(variables...), "", client.program, args...)
}

// NewExpiringToken makes a token like NewToken does, but Modal rejects it after its lifetime.
func (e *Emulator) NewExpiringToken(ctx context.Context, life time.Duration) (Token, error) {
	var token Token
	body, err := e.post(ctx, "/tokens", url.Values{
		"workspace": {"demo"}, "owner": {"operator"}, "kind": {"member"}, "expires_in": {life.String()},
	})
	if err != nil {
		return token, err
	}
	if err = json.Unmarshal(body, &token); err != nil {
		return token, fmt.Errorf("reading the emulator's new token: %w", err)
	}
	return token, nil
}

// AnswersTo returns the codes (for example OK, Unauthenticated) that the emulator answered to a token's
// calls, in order.
func (e *Emulator) AnswersTo(ctx context.Context, tokenID string) ([]string, error) {
	body, err := e.ask(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return nil, err
	}
	var state struct {
		Calls []struct {
			TokenID string `json:"token_id"`
			Code    string `json:"code"`
		} `json:"calls"`
	}
	if err = json.Unmarshal(body, &state); err != nil {
		return nil, fmt.Errorf("reading the emulator's state: %w", err)
	}
	var codes []string
	for _, call := range state.Calls {
		if call.TokenID == tokenID {
			codes = append(codes, call.Code)
		}
	}
	return codes, nil
}
