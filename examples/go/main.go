// SPDX-License-Identifier: MPL-2.0

// A program that reads its Modal tokens from Vault and keeps working through rotations. Each argument is the path
// of one account.
//
//	VAULT_ADDR=… VAULT_TOKEN=… go run . modal/creds/ci
//
// Without an argument the program uses the token that Modal's client finds by itself: environment variables, then
// the file.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"sync"
	"syscall"
	"time"

	vault "github.com/hashicorp/vault/api"
	modal "github.com/modal-labs/modal-client/go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, paths []string) error {
	if len(paths) == 0 {
		client, err := modal.NewClient()
		if err != nil {
			return err
		}
		defer client.Close()
		return work(ctx, "the token of the environment or the file", client)
	}
	server, err := vault.NewClient(nil) // VAULT_ADDR, VAULT_TOKEN
	if err != nil {
		return err
	}
	var accounts []*account
	for _, from := range paths {
		a := &account{vault: server, path: from}
		next, err := a.read(ctx)
		if err != nil {
			return err
		}
		go a.keep(ctx, next)
		accounts = append(accounts, a)
	}
	for {
		for _, a := range accounts {
			if err := a.use(func(client *modal.Client) error { return work(ctx, path.Base(a.path), client) }); err != nil && ctx.Err() == nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// work is a placeholder for the program's work at Modal.
func work(ctx context.Context, account string, client *modal.Client) error {
	environments, err := client.Environments.Objects.List(ctx)
	if err != nil {
		return err
	}
	for environment, err := range environments {
		if err != nil {
			return err
		}
		fmt.Println(account, "sees", environment.Name)
	}
	return nil
}

// account is a Modal client that always has the current token of one Vault path.
type account struct {
	vault *vault.Client
	path  string

	mu      sync.Mutex
	current *handle
}

// handle is the client of one token, with a count of the calls that still use it.
type handle struct {
	client  *modal.Client
	tokenID string
	calls   sync.WaitGroup
}

// use runs a call with the current client. The client stays open until the call is over, even if a rotation happens
// meanwhile.
func (a *account) use(call func(*modal.Client) error) error {
	a.mu.Lock()
	h := a.current
	h.calls.Add(1)
	a.mu.Unlock()
	defer h.calls.Done()
	return call(h.client)
}

// keep reads the token again at the time that the last answer named. If Vault does not answer, the client stays.
func (a *account) keep(ctx context.Context, next time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
		again, err := a.read(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			again = 10 * time.Second
		}
		next = again
	}
}

// constructing guards MODAL_SERVER_URL while a client is constructed.
var constructing sync.Mutex

// newClient makes a client of the server that Vault names. An answer without server_url means Modal's own server.
// Arguments of the constructor have priority over environment variables, and environment variables over the file.
// The constructor has no argument for the server, so newClient sets the variable.
func newClient(server string, params *modal.ClientParams) (*modal.Client, error) {
	constructing.Lock()
	defer constructing.Unlock()
	if server == "" {
		server = "https://api.modal.com:443"
	}
	if err := os.Setenv("MODAL_SERVER_URL", server); err != nil {
		return nil, err
	}
	return modal.NewClientWithOptions(params)
}

// read reads the token, replaces the client if the token changed, and returns the time until the next read.
func (a *account) read(ctx context.Context) (time.Duration, error) {
	// Logical().Read hides Vault's text about a path that does not exist.
	response, err := a.vault.Logical().ReadRawWithContext(ctx, a.path)
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil {
		return 0, fmt.Errorf("could not read %s: %w", a.path, err)
	}
	secret, err := vault.ParseSecret(response.Body)
	if err != nil {
		return 0, fmt.Errorf("could not read the answer of %s: %w", a.path, err)
	}
	text := func(key string) string { value, _ := secret.Data[key].(string); return value }
	ttl, ok := secret.Data["ttl"].(json.Number)
	seconds, err := ttl.Int64()
	if !ok || err != nil || text("token_id") == "" {
		return 0, errors.New(a.path + " is no path of a token: it is modal/creds/<role>")
	}
	next := time.Duration(seconds) * time.Second

	if a.current != nil && a.current.tokenID == text("token_id") { // Only this method writes current.
		return next, nil
	}
	client, err := newClient(text("server_url"), &modal.ClientParams{
		TokenID: text("token_id"), TokenSecret: text("token_secret"), Environment: text("environment"),
	})
	if err != nil {
		return 0, err
	}
	fmt.Println(path.Base(a.path), "has", text("token_id"))
	a.mu.Lock()
	old := a.current
	a.current = &handle{client: client, tokenID: text("token_id")}
	a.mu.Unlock()
	if old != nil {
		old.calls.Wait()
		old.client.Close()
	}
	return next, nil
}
