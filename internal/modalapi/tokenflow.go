// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"net"
	"net/url"
	"time"
	"unicode"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/metadata"
)

// maxURL limits the address of an approval page, in bytes.
const maxURL = 1024

// TokenFlow is a page on which a person can let Modal create a member token. Modal gives the token to the
// client that knows the flow's ID and wait secret. The page shows Code, so that the person can compare it;
// Code may be empty.
type TokenFlow struct{ ID, WaitSecret, URL, Code string }

// ApprovedToken is a token that a person approved, with the name of its workspace.
type ApprovedToken struct {
	Token     Token
	Workspace string
}

// withoutToken returns a context whose calls carry no token.
func withoutToken(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.MD{})
}

// BeginTokenFlow starts an approval at Modal without a token (TokenFlowCreate). The new token lives for the
// given time, in whole seconds; zero leaves its lifetime to Modal. BeginTokenFlow returns an *Error; an
// unusable answer is KindUnavailable. If the lifetime cannot be sent, the error is not an *Error.
func (c *Client) BeginTokenFlow(ctx context.Context, lifetime time.Duration) (TokenFlow, error) {
	seconds, err := wholeSeconds(lifetime)
	if err != nil {
		return TokenFlow{}, err
	}
	// Port 0 tells Modal that no local server waits for the browser. A third party has seen this work.
	answer, err := c.stub.TokenFlowCreate(withoutToken(ctx), pb.TokenFlowCreateRequest_builder{ExpiresInSeconds: seconds}.Build())
	if err != nil {
		return TokenFlow{}, err
	}
	clean := newRedactor(answer.GetWaitSecret())
	flow := TokenFlow{
		ID: clean.id(answer.GetTokenFlowId()), WaitSecret: answer.GetWaitSecret(),
		URL: answer.GetWebUrl(), Code: clean.name(answer.GetCode()),
	}
	if flaw := flow.flaw(); flaw != "" {
		return TokenFlow{}, c.badAnswer("TokenFlowCreate", flaw)
	}
	return flow, nil
}

func (f TokenFlow) flaw() string {
	secrets := newKnownSecrets([]string{f.WaitSecret})
	switch {
	case f.ID == "":
		return "it has no flow ID"
	case f.WaitSecret == "" || len(f.WaitSecret) > maxLength:
		return "it has no usable wait secret"
	case !isPage(f.URL) || secrets.hide(f.URL) != f.URL:
		return "its web address cannot be opened safely"
	}
	return ""
}

// isPage reports whether address is safe to open in a browser: it uses TLS, or it is on this machine.
func isPage(address string) bool {
	for _, r := range address {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) || unicode.IsSpace(r) {
			return false
		}
	}
	page, err := url.Parse(address)
	if err != nil || len(address) > maxURL || page.Host == "" || page.User != nil {
		return false
	}
	ip := net.ParseIP(page.Hostname())
	return page.Scheme == "https" || (page.Scheme == "http" && (page.Hostname() == "localhost" || ip.IsLoopback()))
}

// AwaitTokenFlow asks Modal for the approved token and lets Modal wait at most that long for the person
// (TokenFlowWait). It returns nil without an error if the person has not approved yet. It returns an *Error,
// but the kind for a refusal or an ended flow is not known. An unusable token is KindUnavailable.
func (c *Client) AwaitTokenFlow(ctx context.Context, flow TokenFlow, wait time.Duration) (*ApprovedToken, error) {
	answer, err := c.stub.TokenFlowWait(withoutToken(ctx), pb.TokenFlowWaitRequest_builder{
		TokenFlowId: flow.ID, WaitSecret: flow.WaitSecret, Timeout: float32(wait.Seconds()),
	}.Build())
	if err != nil {
		return nil, err
	}
	if answer.GetTimeout() {
		return nil, nil //nolint:nilnil // nothing yet is no failure
	}
	token, _, err := ParseToken(boundValue(answer.GetTokenId()), boundValue(answer.GetTokenSecret()))
	if err != nil {
		return nil, c.badAnswer("TokenFlowWait", err.Error())
	}
	clean := newRedactor(token.Secret, flow.WaitSecret)
	if clean.id(token.ID) != token.ID {
		return nil, c.badAnswer("TokenFlowWait", "its token ID cannot be shown")
	}
	return &ApprovedToken{Token: token, Workspace: clean.name(answer.GetWorkspaceUsername())}, nil
}
