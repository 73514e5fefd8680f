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

// maxURL is how long the address of a page may be, in bytes.
const maxURL = 1024

// TokenFlow is a page on which a person may have Modal make a member token for whoever knows the flow's
// ID and wait secret. Code is what the page shows, for the person to compare; it may be empty.
type TokenFlow struct{ ID, WaitSecret, URL, Code string }

// ApprovedToken is the pair that a person approved. Workspace is the name of its workspace.
type ApprovedToken struct {
	Token     Token
	Workspace string
}

// anonymous returns a context whose calls are made with no token at all.
func anonymous(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.MD{})
}

// BeginTokenFlow asks Modal for such a page, without a token (TokenFlowCreate). life is how long the
// token is to live, in whole seconds; zero leaves it to Modal. Its errors are *Error; an answer that
// cannot be used is KindUnavailable. A life that cannot be sent is no *Error.
func (c *Client) BeginTokenFlow(ctx context.Context, life time.Duration) (TokenFlow, error) {
	seconds, err := wholeSeconds(life)
	if err != nil {
		return TokenFlow{}, err
	}
	// A port of 0 says that nothing listens beside the browser: seen to work by a third party.
	answer, err := c.stub.TokenFlowCreate(anonymous(ctx), pb.TokenFlowCreateRequest_builder{ExpiresInSeconds: seconds}.Build())
	if err != nil {
		return TokenFlow{}, err
	}
	clean := newRedactor(answer.GetWaitSecret())
	flow := TokenFlow{
		ID: clean.id(answer.GetTokenFlowId()), WaitSecret: answer.GetWaitSecret(),
		URL: answer.GetWebUrl(), Code: clean.name(answer.GetCode()),
	}
	if flaw := flow.flaw(); flaw != "" {
		return TokenFlow{}, c.distrust("TokenFlowCreate", flaw)
	}
	return flow, nil
}

func (f TokenFlow) flaw() string {
	shown := f.URL[:min(len(f.URL), maxText)]
	switch {
	case f.ID == "":
		return "it has no flow ID"
	case f.WaitSecret == "" || len(f.WaitSecret) > maxLength:
		return "it has no usable wait secret"
	case !isPage(f.URL) || Redact(shown, f.WaitSecret) != shown:
		return "it has no address that a person could open"
	}
	return ""
}

// isPage says whether a person can be sent there: with TLS, or on this machine.
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

// AwaitTokenFlow waits at Modal, so long at most, for a person's yes (TokenFlowWait). Nil and no error
// mean that there was none yet. Its errors are *Error; which kind says that the person refused or that
// the flow is over is not known. A pair that cannot be used is KindUnavailable.
func (c *Client) AwaitTokenFlow(ctx context.Context, flow TokenFlow, wait time.Duration) (*ApprovedToken, error) {
	answer, err := c.stub.TokenFlowWait(anonymous(ctx), pb.TokenFlowWaitRequest_builder{
		TokenFlowId: flow.ID, WaitSecret: flow.WaitSecret, Timeout: float32(wait.Seconds()),
	}.Build())
	if err != nil {
		return nil, err
	}
	if answer.GetTimeout() {
		return nil, nil //nolint:nilnil // nothing yet is no failure
	}
	token, _, err := ParseToken(half(answer.GetTokenId()), half(answer.GetTokenSecret()))
	if err != nil {
		return nil, c.distrust("TokenFlowWait", err.Error())
	}
	clean := newRedactor(token.Secret, flow.WaitSecret)
	if clean.id(token.ID) != token.ID {
		return nil, c.distrust("TokenFlowWait", "its token ID cannot be shown")
	}
	return &ApprovedToken{Token: token, Workspace: clean.name(answer.GetWorkspaceUsername())}, nil
}
