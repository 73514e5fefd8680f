// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// began is a token flow as its client sees it, with the path of its page.
type began struct {
	*pb.TokenFlowCreateResponse
	client pb.ModalClientClient
	ctx    context.Context
	path   string
}

func (e *emulator) begin(t *testing.T) began {
	t.Helper()
	client, _ := e.modal(t, nil)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-modal-client-type", "9", "x-modal-client-version", "1.0.0")
	f, err := client.TokenFlowCreate(ctx, pb.TokenFlowCreateRequest_builder{ExpiresInSeconds: 3600}.Build())
	require.NoError(t, err)
	path, found := strings.CutPrefix(f.GetWebUrl(), e.pageURL)
	require.True(t, found, f.GetWebUrl())
	return began{f, client, ctx, path}
}

func (b began) wait() (*pb.TokenFlowWaitResponse, error) {
	return b.client.TokenFlowWait(b.ctx, pb.TokenFlowWaitRequest_builder{
		TokenFlowId: b.GetTokenFlowId(), WaitSecret: b.GetWaitSecret(), Timeout: 60,
	}.Build())
}

func TestTokenFlow_ApprovalOnThePageGivesTheClientItsToken(t *testing.T) {
	t.Parallel()
	e := launch(t)
	b := e.begin(t)
	html := e.get(t, b.path)
	require.Equal(t, http.StatusOK, html.code)
	require.Equal(t, "no-store", html.header.Get("Cache-Control"))
	require.Contains(t, html.body, b.GetCode())
	require.Contains(t, html.body, "for 1h0m0s")
	require.Regexp(t, `(?s)as operator, owner in demo.*as colleague, user in demo.*as outsider, owner in elsewhere`, html.body)
	require.Contains(t, html.body, `action="`+b.path+`/approve"`)
	require.Contains(t, html.body, `action="`+b.path+`/deny"`)
	require.NotContains(t, html.body, b.GetWaitSecret())

	resp := e.post(t, b.path+"/approve", map[string]string{"owner": "colleague"})
	require.Equal(t, http.StatusSeeOther, resp.code)
	require.Equal(t, b.path, resp.header.Get("Location"))
	got, err := b.wait()
	require.NoError(t, err)
	require.Equal(t, "demo", got.GetWorkspaceUsername())
	names, err := e.environments(t, got.GetTokenId(), got.GetTokenSecret())
	require.NoError(t, err)
	require.Equal(t, []string{"main", "staging"}, names)
	for _, path := range []string{"/", b.path} {
		body := e.get(t, path).body
		require.Contains(t, body, got.GetTokenId())
		require.NotContains(t, body, "as-")
	}
	require.NotContains(t, e.get(t, b.path).body, "Approve</button>")
}

func TestTokenFlow_AScriptApprovesAndReadsJSON(t *testing.T) {
	t.Parallel()
	e := launch(t)
	b := e.begin(t)
	state, text := e.state(t)
	require.Equal(t, []flowView{{b.GetTokenFlowId(), b.GetWebUrl(), b.GetCode(), "waiting", ""}}, state.Flows)
	require.NotContains(t, text, b.GetWaitSecret())

	resp := e.post(t, b.path+"/approve", map[string]string{"workspace": "elsewhere", "owner": "outsider"}, asJSON)
	require.Equal(t, http.StatusOK, resp.code)
	var flow flowView
	require.NoError(t, json.Unmarshal([]byte(resp.body), &flow))
	require.Equal(t, "approved", flow.State)
	got, err := b.wait()
	require.NoError(t, err)
	require.Equal(t, flow.TokenID, got.GetTokenId())
	require.Equal(t, "elsewhere", got.GetWorkspaceUsername())
	require.NotContains(t, resp.body, got.GetTokenSecret())
}

func TestTokenFlow_DenialEndsTheClientsFlowToo(t *testing.T) {
	t.Parallel()
	e := launch(t)
	b := e.begin(t)
	require.Equal(t, http.StatusSeeOther, e.post(t, b.path+"/deny", nil).code)
	_, err := b.wait()
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.Contains(t, e.get(t, b.path).body, "The flow is denied")
	again := e.post(t, b.path+"/approve", map[string]string{"owner": "operator"})
	require.Equal(t, http.StatusConflict, again.code)
	require.Contains(t, again.body, "decided before")
}

func TestTokenFlow_BadDecisionsAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	e := launch(t)
	b := e.begin(t)
	for name, test := range map[string]struct {
		path, owner, reason string
		code                int
	}{
		"person":    {b.path + "/approve", "nobody", "there is no member", http.StatusBadRequest},
		"approving": {"/token-flow/tf-none/approve", "operator", "no token flow with that ID exists", http.StatusNotFound},
		"denying":   {"/token-flow/tf-none/deny", "operator", "no token flow with that ID exists", http.StatusNotFound},
	} {
		resp := e.post(t, test.path, map[string]string{"owner": test.owner})
		require.Equal(t, test.code, resp.code, name)
		require.Contains(t, resp.body, test.reason, name)
	}
	require.Equal(t, http.StatusNotFound, e.get(t, "/token-flow/tf-none").code)
	require.Equal(t, http.StatusForbidden, e.post(t, b.path+"/approve", map[string]string{"owner": "operator"}, fromOtherSite).code)
	state, _ := e.state(t)
	require.Equal(t, "waiting", state.Flows[0].State)
}

func TestRun_ExpiryDeletesServiceUsersIfSet(t *testing.T) {
	t.Parallel()
	for name, vanish := range map[string]bool{"-expiry-deletes": true, "-expiry-deletes=false": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := launch(t, name)
			token := e.createToken(t, map[string]string{"kind": "service-user", "owner": "ci", "expires_in": "1ms"})
			require.Eventually(t, func() bool {
				_, err := e.environments(t, token["token_id"], token["token_secret"])
				return err != nil
			}, 10*time.Second, 5*time.Millisecond)
			state, _ := e.state(t)
			require.Equal(t, vanish, len(state.ServiceUsers) == 0)
		})
	}
}
