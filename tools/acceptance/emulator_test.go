// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// emulator is the program of cmd/modal-emulator, in a separate process.
type emulator struct{ grpcURL, pageURL string }

func startEmulator(t *testing.T, args ...string) emulator {
	t.Helper()
	process := exec.CommandContext(t.Context(), program(t, "modal-emulator"), append(args, "-listen", "127.0.0.1:0", "-page", "127.0.0.1:0")...)
	stdout, err := process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		require.NoError(t, process.Process.Kill())
		_ = process.Wait()
	})
	var e emulator
	lines := bufio.NewScanner(stdout)
	for _, target := range []*string{&e.grpcURL, &e.pageURL} {
		require.True(t, lines.Scan(), lines.Err())
		_, *target, _ = strings.Cut(lines.Text(), " ")
	}
	return e
}

// ask posts a form to the emulator's page, or reads the page, and decodes the answer.
func (e emulator) ask(t *testing.T, method, address string, form url.Values, answer any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, json.NewDecoder(resp.Body).Decode(answer))
}

// environ returns the environment of a run with a new token of a member.
func (e emulator) environ(t *testing.T, member string) map[string]string {
	t.Helper()
	var token struct {
		ID     string `json:"token_id"`
		Secret string `json:"token_secret"`
	}
	e.ask(t, http.MethodPost, e.pageURL+"/tokens", url.Values{"kind": {"member"}, "workspace": {"demo"}, "owner": {member}}, &token)
	return map[string]string{
		"MODAL_TOKEN_ID": token.ID, "MODAL_TOKEN_SECRET": token.Secret, "MODAL_SERVER_URL": e.grpcURL, "ACCEPTANCE": "yes",
	}
}

// identity returns the identity token of a container in the workspace demo.
func (e emulator) identity(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.pageURL+"/identity-tokens", strings.NewReader("workspace=demo"))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	token, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(token)
}

// person reads the program's output and approves the token in it.
type person struct {
	t      *testing.T
	e      emulator
	member string

	mu   sync.Mutex
	read bytes.Buffer
}

var flowPage = regexp.MustCompile(`http://\S+/token-flow/\S+`)

func (p *person) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if page := flowPage.Find(text); page != nil {
		var flow struct{ State string }
		p.e.ask(p.t, http.MethodPost, string(page)+"/approve", url.Values{"workspace": {"demo"}, "owner": {p.member}}, &flow)
	}
	return p.read.Write(text)
}

// serviceUsers returns the names of the emulator's service users.
func (e emulator) serviceUsers(t *testing.T) (names []string) {
	t.Helper()
	var state struct {
		ServiceUsers []struct{ Name string } `json:"service_users"`
	}
	e.ask(t, http.MethodGet, e.pageURL, nil, &state)
	for _, user := range state.ServiceUsers {
		names = append(names, user.Name)
	}
	return names
}
