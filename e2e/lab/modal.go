// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Token is a Modal account token. It prints without its secret.
type Token struct {
	ID     string `json:"token_id"`
	Secret string `json:"token_secret"`
}

// String returns the token's ID.
func (t Token) String() string { return t.ID }

// GoString returns the token's ID.
func (t Token) GoString() string { return t.ID }

// Emulator is a running emulator of Modal's control plane.
type Emulator struct {
	// URL is the address for Modal's clients (server_url), Page the address for people.
	URL, Page string
}

// ready matches the two lines that the emulator prints when it accepts connections.
var ready = regexp.MustCompile(`(?m)^grpc (\S+)\npage (\S+)$`)

// StartEmulator starts the emulator on free loopback ports, with its workspace "demo" and no token yet. It
// runs until ctx ends or the lab is closed.
func (l *Lab) StartEmulator(ctx context.Context, args ...string) (*Emulator, error) {
	process, err := l.start(ctx, "emulator", l.env(), filepath.Join(l.tools.dir, "modal-emulator"),
		append([]string{"-listen=127.0.0.1:0", "-page=127.0.0.1:0"}, args...)...)
	if err != nil {
		return nil, err
	}
	e := &Emulator{}
	return e, process.ready(ctx, func() error {
		log, err := os.ReadFile(process.log)
		if err != nil {
			return err
		}
		urls := ready.FindStringSubmatch(string(log))
		if urls == nil {
			return errors.New("the emulator has not printed its addresses yet")
		}
		e.URL, e.Page = urls[1], urls[2]
		return nil
	})
}

// NewToken makes a token of the workspace's first member, as that member would on Modal's page.
func (e *Emulator) NewToken(ctx context.Context) (Token, error) {
	var token Token
	body, err := e.post(ctx, "/tokens", url.Values{"workspace": {"demo"}, "owner": {"operator"}, "kind": {"member"}})
	if err != nil {
		return token, err
	}
	err = json.Unmarshal(body, &token)
	if err == nil && (token.ID == "" || token.Secret == "") {
		err = errors.New("its ID or its secret is missing")
	}
	if err != nil {
		return token, fmt.Errorf("reading the emulator's new token: %w", err)
	}
	return token, nil
}

// NewServiceUser makes a service user as a person on Modal's page would.
func (e *Emulator) NewServiceUser(ctx context.Context, name string) error {
	_, err := e.post(ctx, "/tokens", url.Values{"workspace": {"demo"}, "owner": {name}, "kind": {"service-user"}})
	return err
}

// DeleteToken deletes a token, as its owner would on Modal's page.
func (e *Emulator) DeleteToken(ctx context.Context, id string) error {
	_, err := e.post(ctx, "/tokens/"+url.PathEscape(id)+"/delete", nil)
	return err
}

// State lists the emulator's service users and token flows, and the calls that the emulator has received.
type State struct {
	ServiceUsers []ServiceUser `json:"service_users"`
	Calls        []Call        `json:"calls"`
	Flows        []Flow        `json:"flows"`
}

// Flow is a client's request for a token. A person approves or denies it at its URL. Its state is waiting,
// approved, denied or lapsed.
type Flow struct {
	URL   string `json:"url"`
	Code  string `json:"code"`
	State string `json:"state"`
}

// ServiceUser is an existing service user. Its roles map an environment to viewer, contributor or no-access.
type ServiceUser struct {
	Name    string            `json:"name"`
	TokenID string            `json:"token_id"`
	Scoped  bool              `json:"scoped"`
	Roles   map[string]string `json:"roles"`
}

// Call is an RPC. Calls are in the order of arrival. The code is "Unknown" until the emulator has answered.
type Call struct {
	Method  string `json:"method"`
	TokenID string `json:"token_id"` // the caller's
	Code    string `json:"code"`
}

// State reads the emulator's state.
func (e *Emulator) State(ctx context.Context) (State, error) {
	var state State
	body, err := e.ask(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return state, err
	}
	if err = json.Unmarshal(body, &state); err != nil {
		return state, fmt.Errorf("reading the emulator's state: %w", err)
	}
	return state, nil
}

// Approve approves a flow as a member of the workspace "demo", as that member would on Modal's page.
func (e *Emulator) Approve(ctx context.Context, flow Flow, member string) error {
	_, err := e.post(ctx, e.below(flow)+"/approve", url.Values{"workspace": {"demo"}, "owner": {member}})
	return err
}

// Deny denies a flow, as a person would on Modal's page.
func (e *Emulator) Deny(ctx context.Context, flow Flow) error {
	_, err := e.post(ctx, e.below(flow)+"/deny", nil)
	return err
}

func (e *Emulator) below(flow Flow) string { return strings.TrimPrefix(flow.URL, e.Page) }

// IdentityToken returns the identity token of a container at Modal. The emulator's page is the issuer. Each claim
// replaces the one of a container of the app train in the environment main of the workspace demo. The claim expires_in
// is the token's lifetime.
func (e *Emulator) IdentityToken(ctx context.Context, claims map[string]string) (string, error) {
	form := url.Values{"workspace": {"demo"}}
	for name, value := range claims {
		form.Set(name, value)
	}
	token, err := e.post(ctx, "/identity-tokens", form)
	return strings.TrimSpace(string(token)), err
}

// Delay makes the next call of an RPC wait: before the work, or (committed) between the work and its answer.
func (e *Emulator) Delay(ctx context.Context, rpc string, wait time.Duration, committed bool) error {
	_, err := e.post(ctx, "/delays", url.Values{
		"rpc": {rpc}, "delay": {wait.String()}, "after_commit": {strconv.FormatBool(committed)},
	})
	return err
}

// Slow makes every call of an RPC, or of any RPC with "*", wait before its work.
func (e *Emulator) Slow(ctx context.Context, rpc string, wait time.Duration) error {
	_, err := e.post(ctx, "/delays", url.Values{"rpc": {rpc}, "delay": {wait.String()}, "always": {"true"}})
	return err
}

// SetOutage starts or ends an outage. During an outage every call fails as if Modal were down.
func (e *Emulator) SetOutage(ctx context.Context, down bool) error {
	_, err := e.post(ctx, "/outage", url.Values{"down": {strconv.FormatBool(down)}})
	return err
}

// post sends a form to the emulator's page and returns the JSON answer.
func (e *Emulator) post(ctx context.Context, path string, form url.Values) ([]byte, error) {
	return e.ask(ctx, http.MethodPost, path, form)
}

func (e *Emulator) ask(ctx context.Context, method, path string, form url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, e.Page+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("asking the emulator: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the emulator: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing to do about an error
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the emulator's answer to %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking the emulator for %s: %s", path, resp.Status)
	}
	return body, nil
}

// SDK runs a program built on Modal's Go SDK with the given .modal.toml as its only configuration. The
// program authenticates and prints the environments that it sees. If Modal rejects the token, the program
// exits with 1 and prints the reason.
func (l *Lab) SDK(ctx context.Context, file string) (Result, error) {
	return run(ctx, l.env("MODAL_CONFIG_PATH="+file), "", filepath.Join(l.tools.dir, "modal-sdk"))
}
