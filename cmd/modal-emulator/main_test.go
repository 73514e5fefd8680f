// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	modal "github.com/modal-labs/modal-client/go"
	"github.com/stretchr/testify/require"
)

// emulator runs the program in this process. Tests use it only from outside.
type emulator struct {
	grpcURL, pageURL string
	stop             context.CancelFunc
	ended            chan error
}

// launch runs the program on free ports and waits for its two lines, as a script would.
func launch(t *testing.T, args ...string) *emulator {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	e := &emulator{stop: stop, ended: make(chan error, 1)}
	reader, writer := io.Pipe()
	go func() {
		err := run(ctx, append(args, "-listen", "127.0.0.1:0", "-page", "127.0.0.1:0"), writer, io.Discard)
		writer.CloseWithError(err)
		e.ended <- err
	}()
	lines := bufio.NewScanner(reader)
	for _, target := range []struct {
		word string
		url  *string
	}{{"grpc", &e.grpcURL}, {"page", &e.pageURL}} {
		require.True(t, lines.Scan(), "no %s line: %v", target.word, lines.Err())
		url, found := strings.CutPrefix(lines.Text(), target.word+" ")
		require.True(t, found, lines.Text())
		require.Regexp(t, `^http://127\.0\.0\.1:[1-9]\d*$`, url)
		*target.url = url
	}
	t.Cleanup(stop)
	return e
}

// environments lists the emulator's environments through Modal's own Go SDK.
func (e *emulator) environments(t *testing.T, id, secret string) ([]string, error) {
	t.Helper()
	params := &modal.ClientParams{}
	file := fmt.Sprintf("[test]\nactive = true\nserver_url = %q\ntoken_id = %q\ntoken_secret = %q\n", e.grpcURL, id, secret)
	require.NoError(t, toml.Unmarshal([]byte(file), &params.Config))
	client, err := modal.NewClientWithOptions(params)
	require.NoError(t, err)
	defer client.Close()
	list, err := client.Environments.Objects.List(t.Context())
	require.NoError(t, err)
	var names []string
	for env, err := range list {
		if err != nil {
			return nil, err
		}
		names = append(names, env.Name)
	}
	return names, nil
}

func TestRun_TokensOfThePageWorkWithModalsSDKUntilDeleted(t *testing.T) {
	t.Parallel()
	e := launch(t)
	created := e.createToken(t, map[string]string{"kind": "member", "owner": "operator"})
	names, err := e.environments(t, created["token_id"], created["token_secret"])
	require.NoError(t, err)
	require.Equal(t, []string{"main", "staging"}, names)

	resp := e.post(t, "/tokens/"+created["token_id"]+"/delete", nil, asJSON)
	require.Equal(t, http.StatusOK, resp.code)
	_, err = e.environments(t, created["token_id"], created["token_secret"])
	require.ErrorContains(t, err, "Token not found")
}

func TestRun_StopsCleanlyWhenAsked(t *testing.T) {
	t.Parallel()
	e := launch(t)
	e.stop()
	require.NoError(t, <-e.ended)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.pageURL, http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err == nil {
		require.NoError(t, resp.Body.Close())
	}
	require.ErrorContains(t, err, "refused")
}

func TestRun_RefusesAddressesThatOthersCanReach(t *testing.T) {
	t.Parallel()
	ended, stop := context.WithCancel(t.Context())
	stop() // so that run serves no address, even if it does not refuse the address
	for address, refusal := range map[string]string{
		"0.0.0.0:0": "refuse ", ":0": "refuse ", "[::]:0": "refuse ", "192.0.2.1:0": "refuse ",
		"127.0.0.1": "read ", "nonsense": "read ",
	} {
		for _, name := range []string{"-listen", "-page"} {
			t.Run(name+" "+address, func(t *testing.T) {
				t.Parallel()
				args := []string{"-listen", "127.0.0.1:0", "-page", "127.0.0.1:0", name, address}
				err := run(ended, args, io.Discard, io.Discard)
				require.ErrorContains(t, err, refusal+name)
			})
		}
	}
}

func TestRun_RefusesUnknownArguments(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, run(t.Context(), []string{"serve"}, io.Discard, io.Discard), `unexpected argument "serve"`)
	require.ErrorContains(t, run(t.Context(), []string{"-port", "1"}, io.Discard, io.Discard), "-port")
}

func TestRun_NamesTheOccupiedAddress(t *testing.T) {
	t.Parallel()
	e := launch(t)
	taken := strings.TrimPrefix(e.grpcURL, "http://")
	err := run(t.Context(), []string{"-listen", taken, "-page", "127.0.0.1:0"}, io.Discard, io.Discard)
	require.ErrorContains(t, err, "listen for -listen")
	require.ErrorContains(t, err, "in use")
}
