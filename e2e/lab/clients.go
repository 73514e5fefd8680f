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

// Client is a program built on one of Modal's clients, as a user of Modal would have it.
type Client struct {
	// Name is the client's language: go, python or javascript.
	Name string

	program string
	calls   [][]string // the arguments of each run that authenticates
}

// Program is the path of the client's program: for Python, the modal command.
func (c Client) Program() string { return c.program }

// GoClient is a program on Modal's Go SDK, which is among what was built.
func (t *Tools) GoClient() Client {
	return Client{Name: "go", program: filepath.Join(t.dir, "modal-sdk"), calls: [][]string{nil}}
}

// PythonClient is the modal command of PyPI. It is installed where it is not yet, and fails where it
// can't be.
func (t *Tools) PythonClient(ctx context.Context) (Client, error) {
	return t.install(ctx, "python", []string{"token", "info"}, []string{"environment", "list", "--json"})
}

// JavaScriptClient is a program on Modal's JavaScript SDK. It is installed where it is not yet, and
// fails where it can't be.
func (t *Tools) JavaScriptClient(ctx context.Context) (Client, error) {
	return t.install(ctx, "javascript", nil)
}

func (t *Tools) install(ctx context.Context, name string, calls ...[]string) (Client, error) {
	t.installing.Lock()
	defer t.installing.Unlock()
	program, err := t.output(ctx, filepath.Join(t.root, "e2e", "clients", "install.sh"), name)
	return Client{Name: name, program: program, calls: calls}, err
}

// Authenticate has the client authenticate in each way that it knows, with the given variables as all
// that it has of Modal. Each run prints what it sees, or exits with 1 and the reason when refused.
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

// RunClient runs the client's program with the given variables as all that it has of Modal beside its
// home, which is the lab's.
func (l *Lab) RunClient(ctx context.Context, client Client, args []string, variables ...string) (Result, error) {
	return run(ctx, l.env(variables...), "", client.program, args...)
}

// NewExpiringToken is NewToken with a token that Modal refuses after a while.
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

// AnswersTo are the codes, such as OK and Unauthenticated, that the emulator answered a token's calls
// with, in their order.
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
