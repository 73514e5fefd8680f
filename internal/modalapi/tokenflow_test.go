// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestTokenFlow_ErrorsDoNotShowItsID(t *testing.T) {
	t.Parallel()
	server := modaltest.Start(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	flow, err := client.BeginTokenFlow(t.Context(), 0)
	require.NoError(t, err)
	server.Inject("TokenFlowWait", modaltest.Fault{Code: codes.NotFound, Message: "Token flow '" + flow.ID + "' (code " + flow.Code + ") not found"})

	_, err = client.AwaitTokenFlow(t.Context(), flow, time.Second)

	require.ErrorContains(t, err, "Token flow '[redacted]' ")
	require.NotContains(t, err.Error(), flow.ID)
}

// beginning returns a client of a server that begins a token flow with the given answer.
func beginning(t *testing.T, answer pb.TokenFlowCreateResponse_builder) *modalapi.Client {
	t.Helper()
	return answering(t, func(context.Context) (*pb.TokenFlowCreateResponse, error) { return answer.Build(), nil })
}

// goodFlow is the usual answer of Modal at the beginning of a token flow.
func goodFlow() pb.TokenFlowCreateResponse_builder {
	return pb.TokenFlowCreateResponse_builder{TokenFlowId: "tf-1", WaitSecret: someSecret, WebUrl: "https://modal.com/token-flow/tf-1", Code: "ABCD-1234"}
}

func TestTokenFlow_PageThatIsUnsafeToOpenIsRefused(t *testing.T) {
	t.Parallel()
	for address, safe := range map[string]bool{
		"https://modal.com/token-flow/tf-1":                               true,
		"https://modal.internal:8443/tf?x=1#y":                            true,
		"http://localhost:9900/token-flow/tf-1":                           true,
		"http://127.0.0.1:9900/token-flow/tf-1":                           true,
		"http://[::1]:9900/token-flow/tf-1":                               true,
		"https://modal.com/" + strings.Repeat("x", 1006):                  true,
		"https://modal.com/" + strings.Repeat("x", 1007):                  false,
		"http://modal.com/token-flow/tf-1":                                false,
		"http://localhost.evil.example/token-flow/tf-1":                   false,
		"https://modal.com@evil.example/token-flow/tf-1":                  false,
		"javascript:alert(1)":                                             false,
		"file:///etc/passwd":                                              false,
		"https:///token-flow/tf-1":                                        false,
		"modal.com/token-flow/tf-1":                                       false,
		"https://modal.com/token-flow/tf-1\n":                             false,
		"https://modal.com/ token-flow":                                   false,
		"https://modal.com/\x1b[31m":                                      false,
		"https://mоdal.com/token-flow/tf-1":                               false,
		"https://modal.com/" + someSecret:                                 false,
		"https://modal.com/" + strings.Repeat("x/", 200) + someSecret[3:]: false,
		"https://modal.com/" + someSecret[3:]:                             false,
		"https://modal.com/?jwt=eyJhbGciOiJIUzI1NiJ9.e30.":                false,
		"": false,
	} {
		answer := goodFlow()
		answer.WebUrl = address

		flow, err := beginning(t, answer).BeginTokenFlow(t.Context(), 0)

		if safe {
			require.NoError(t, err, address)
			require.Equal(t, address, flow.URL)
			continue
		}
		require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err), address)
		require.ErrorContains(t, err, "its web address cannot be opened safely")
		require.Less(t, len(err.Error()), 300)
		require.Empty(t, flow)
	}
}

func TestTokenFlow_WithoutAUsableIDOrWaitSecretIsRefused(t *testing.T) {
	t.Parallel()
	for what, text := range hostileTexts {
		answer := goodFlow()
		answer.TokenFlowId = text

		_, err := beginning(t, answer).BeginTokenFlow(t.Context(), 0)

		require.ErrorContains(t, err, "it has no flow ID", what)
	}
	for length, usable := range map[int]bool{0: false, 1: true, 256: true, 257: false, 1 << 18: false} {
		answer := goodFlow()
		answer.WaitSecret = strings.Repeat("z", length)

		_, err := beginning(t, answer).BeginTokenFlow(t.Context(), 0)

		if usable {
			require.NoError(t, err, length)
		} else {
			require.ErrorContains(t, err, "it has no usable wait secret", length)
		}
	}
}

func TestTokenFlow_CodeIsSafeToShow(t *testing.T) {
	t.Parallel()
	for what, text := range hostileTexts {
		answer := goodFlow()
		answer.Code = text

		flow, err := beginning(t, answer).BeginTokenFlow(t.Context(), 0)

		require.NoError(t, err, what)
		requireSafeNames(t, flow.Code)
	}
}

// approving returns a client of a server that gives a token for a flow.
func approving(t *testing.T, id, secret, workspace string) *modalapi.Client {
	t.Helper()
	return answering(t, func(context.Context) (*pb.TokenFlowWaitResponse, error) {
		return pb.TokenFlowWaitResponse_builder{TokenId: id, TokenSecret: secret, WorkspaceUsername: workspace}.Build(), nil
	})
}

func TestTokenFlow_WorkspaceOfAnApprovedTokenIsSafeToShow(t *testing.T) {
	t.Parallel()
	const wait = "0f1e2d3c4b5a6978abcdef"
	flow := modalapi.TokenFlow{ID: "tf-1", WaitSecret: wait}
	for what, text := range hostileTexts {
		approved, err := approving(t, someID, someSecret, text).AwaitTokenFlow(t.Context(), flow, 0)

		require.NoError(t, err, what)
		requireSafeNames(t, approved.Workspace)
	}
	approved, err := approving(t, someID, someSecret, "team "+strings.ToUpper(wait)).AwaitTokenFlow(t.Context(), flow, 0)
	require.NoError(t, err)
	require.Equal(t, "team [redacted]…", approved.Workspace)
	approved, err = approving(t, someID, someSecret, "acme").AwaitTokenFlow(t.Context(), flow, 0)
	require.NoError(t, err)
	require.Equal(t, "acme", approved.Workspace)
	require.True(t, approved.Token == someToken)
}

func TestTokenFlow_UnusableTokenIsNoApproval(t *testing.T) {
	t.Parallel()
	giant := strings.Repeat("x", 1<<18)
	const secret = "as-0f1e2d3c4b5a6978QWERTY"
	for want, token := range map[string]modalapi.Token{
		"token_id is missing":                       {Secret: secret},
		"token_secret is missing":                   {ID: someID},
		"token_id and token_secret are swapped":     {ID: secret, Secret: someID},
		"token_id is 257 bytes long":                {ID: "ak-" + giant, Secret: secret},
		"token_secret is 257 bytes long":            {ID: someID, Secret: "as-" + giant},
		"its token ID cannot be shown":              {ID: "ak-" + secret, Secret: secret},
		"its token ID cannot be shown (its length)": {ID: "ak-" + giant[:126], Secret: secret},
		"its token ID cannot be shown (other case)": {ID: "ak-" + strings.ToLower(secret[3:]), Secret: secret},
		"token_secret contains a control character": {ID: someID, Secret: secret + "\x00"},
		"token_id contains a character outside":     {ID: someID + "é", Secret: secret},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			approved, err := approving(t, token.ID, token.Secret, "acme").AwaitTokenFlow(t.Context(), modalapi.TokenFlow{ID: "tf-1", WaitSecret: "wait"}, 0)

			says, _, _ := strings.Cut(want, " (")
			require.ErrorContains(t, err, says)
			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
			require.Nil(t, approved)
			require.NotContains(t, err.Error(), secret[3:])
			require.Less(t, len(err.Error()), 300)
		})
	}
}

func TestTokenFlow_ErrorsAndWarningsDoNotShowItsSecrets(t *testing.T) {
	t.Parallel()
	flow := goodFlow()
	leaks := strings.ToLower(flow.WaitSecret[3:]) + ", " + flow.TokenFlowId + "-page-of-this-flow and " + flow.Code
	flow.TokenFlowId += "-page-of-this-flow"
	var warned []string
	serverURL := serveRequests(t, func(ctx context.Context, request any) (any, error) {
		if err := grpc.SetTrailer(ctx, metadata.Pairs("x-modal-warning", "see "+leaks)); err != nil {
			return nil, err
		}
		if _, waits := request.(*pb.TokenFlowWaitRequest); waits {
			return nil, status.Error(codes.NotFound, "no flow "+leaks)
		}
		return flow.Build(), nil
	})
	client := newClient(t, modalapi.Options{ServerURL: serverURL, Warn: func(text string) { warned = append(warned, text) }})

	begun, err := client.BeginTokenFlow(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, []string{"see [redacted], [redacted] and [redacted]"}, warned)
	_, err = client.AwaitTokenFlow(t.Context(), begun, 0)

	require.ErrorContains(t, err, "no flow [redacted], [redacted] and ")
}

func TestTokenFlow_TimeoutOfModalIsNoApproval(t *testing.T) {
	t.Parallel()
	client := answering(t, func(context.Context) (*pb.TokenFlowWaitResponse, error) {
		return pb.TokenFlowWaitResponse_builder{Timeout: true}.Build(), nil
	})

	approved, err := client.AwaitTokenFlow(t.Context(), modalapi.TokenFlow{ID: "tf-1", WaitSecret: "wait"}, 0)

	require.NoError(t, err)
	require.Nil(t, approved)
}
