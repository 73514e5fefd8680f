// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
)

// maxApprovalWait is how long a read may wait for a person. Vault lets a request take 90 seconds.
const maxApprovalWait = 20 * time.Second

func (b *Backend) pathApproval() []*framework.Path {
	return []*framework.Path{
		b.approvalPath("config/approval", "config/approval", "admin-token-approval", nil,
			"Replace the admin token by a token that a person approves in a browser."),
		b.approvalPath(prefixRotate+rolePattern+"/approval", "rotate/personal/approval", "role-approval", map[string]*framework.FieldSchema{request.FieldRole: roleNameField()},
			"Rotate a static role, or give it its first token, by a person's approval in a browser."),
	}
}

// approvalPath returns the path of a pattern. Its help shows commands with the path example.
func (b *Backend) approvalPath(pattern, example, suffix string, named map[string]*framework.FieldSchema, synopsis string) *framework.Path {
	return &framework.Path{
		Pattern:      pattern + "$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: suffix},
		Fields: with(named, map[string]*framework.FieldSchema{
			fieldTokenTTL: {
				Type:         framework.TypeDurationSecond,
				Description:  "Life of the new token at Modal, from 1h (default: the longest that its workspace allows).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Token TTL"},
			},
			request.FieldGracePeriod: gracePeriodField("How long the previous token stays valid (default: the role's grace_period; 1h for the admin token)."),
			fieldPinnedWorkspace:     pinnedWorkspaceField("Name or ID (ac-…) of the workspace that the approved token must belong to, besides config's pinned_workspace (default: none)."),
			fieldForce: {
				Type:         framework.TypeBool,
				Description:  "Accept a token of another workspace or person than the current token's, or replace an unverified token. It accepts no token outside of pinned_workspace.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Force"},
			},
			fieldLapseAfter: {
				Type:         framework.TypeDurationSecond,
				Description:  "How long to wait for the person (default 15m, 1m to 24h).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Lapse after", Value: "15m"},
			},
			fieldWait: {
				Type: framework.TypeDurationSecond, Query: true,
				Description: "On read: how long to wait for the end of the approval (default 0, up to 20s).",
			},
		}),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: forwarded(parseApproval, b.beginApproval, "Begin an approval.", with(approvalFields(), pageOfApprovalFields())),
			logical.ReadOperation:   mayBeMissing(local(parseWait, b.readApproval, "Read the state of an approval.", approvalFields()), noSuchApproval),
			logical.DeleteOperation: forwarded(nameOf, b.cancelApproval, "Cancel an approval, or forget an ended approval.", nil),
		},
		HelpSynopsis:    synopsis,
		HelpDescription: strings.ReplaceAll(strings.TrimSpace(approvalHelp), "<path>", example),
	}
}

func parseApproval(in *request.Decoder) model.ApprovalRequest {
	ask := model.ApprovalRequest{
		Role:       in.Name,
		TokenTTL:   in.OptionalDuration(fieldTokenTTL, model.MinTokenLife, model.MaxTokenTTL).Apply(0, 0),
		Grace:      in.GracePeriod(),
		Force:      in.Flag(fieldForce).Apply(false, false),
		LapseAfter: in.Duration(fieldLapseAfter, model.MinLapse, model.MaxLapse).Apply(model.DefaultLapse, model.DefaultLapse),

		PinnedWorkspace: request.CheckedText(in, fieldPinnedWorkspace, model.MaxWorkspace, parseWorkspace).Apply("", ""),
	}
	if in.Body[fieldWait] != nil {
		in.Refuse(fieldWait, "only a read waits: read this path with wait")
	}
	return ask
}

// waitRequest is a read of an approval that may wait.
type waitRequest struct {
	name string
	wait time.Duration
}

func parseWait(in *request.Decoder) waitRequest {
	return waitRequest{name: in.Name, wait: in.OptionalDuration(fieldWait, time.Second, maxApprovalWait).Apply(0, 0)}
}

func approvalFields() responses {
	return responses{
		fieldState:           required(text(`"waiting", "done", "refused", "lapsed" or "cancelled".`)),
		fieldBegan:           required(text("When the approval began (RFC 3339).")),
		fieldLapsesAt:        required(text("When the engine stops waiting (RFC 3339).")),
		fieldReason:          text("Result of the last attempt."),
		request.FieldTokenID: text("ID of the token that was approved (ak-…)."),
		fieldVersion:         number("The token's version in the role, once it is current."),
		fieldNextStep:        required(text("The next step.")),

		fieldWorkspace:       text("Name of the approved token's workspace, once it is known."),
		fieldWorkspaceID:     text("ID of that workspace (ac-…)."),
		fieldIdentityType:    text(`Whose token it is: "user" or "service_user".`),
		fieldIdentity:        text("Name of the user who approved the token."),
		fieldIdentityID:      text("ID of that user (us-…)."),
		fieldPreviousTokenID: text("ID of the replaced token."),
		fieldPinnedWorkspace: text("pinned_workspace of the write."),
	}
}

// pageOfApprovalFields returns the fields of the approval page. Only the response to the write that begins an approval
// has them.
func pageOfApprovalFields() responses {
	return responses{
		fieldURL:  text("Page on which a person approves, in any browser. No other response has it."),
		fieldCode: text("Code that the page shows too; absent if Modal gives none."),
	}
}

func (b *Backend) beginApproval(ctx context.Context, _ *logical.Request, ask model.ApprovalRequest) (*logical.Response, error) {
	begun, err := b.engine.Approvals.Begin(ctx, ask)
	if err != nil {
		return nil, err
	}
	data := b.approvalView(ask.Role, begun.Approval)
	putText(data, fieldURL, begun.URL)
	putText(data, fieldCode, begun.Code)
	data[fieldNextStep] = b.engine.Approvals.FirstStep(ask.Role, begun)
	return &logical.Response{Data: data, Warnings: begun.Warnings}, nil
}

func (b *Backend) readApproval(ctx context.Context, req *logical.Request, ask waitRequest) (*logical.Response, error) {
	a, err := b.engine.Approvals.Read(ctx, ask.name, ask.wait)
	switch {
	case err != nil:
		return nil, err
	case a == nil:
		return notFound(req, "this path has no approval: begin an approval with: "+b.engine.Mount.Commands().Approve(ask.name))
	}
	return &logical.Response{Data: b.approvalView(ask.name, a)}, nil
}

func (b *Backend) cancelApproval(ctx context.Context, _ *logical.Request, name string) (*logical.Response, error) {
	warnings, err := b.engine.Approvals.Cancel(ctx, name)
	if err != nil {
		return nil, err
	}
	return orNothing(&logical.Response{Warnings: warnings}), nil
}

// approvalView returns the state of an approval without its page, because anyone who knows the page can choose the
// account.
func (b *Backend) approvalView(name string, a *model.Approval) map[string]any {
	data := map[string]any{fieldState: a.State, fieldNextStep: b.engine.Approvals.NextStep(name, a)}
	putTime(data, fieldBegan, a.Began)
	putTime(data, fieldLapsesAt, a.Lapses)
	putText(data, fieldReason, a.Reason)
	putText(data, request.FieldTokenID, a.TokenID)
	putText(data, fieldPinnedWorkspace, a.PinnedWorkspace)
	putAccount(data, a.Account)
	if a.State == model.ApprovalDone {
		putText(data, fieldPreviousTokenID, a.PreviousTokenID)
	}
	if a.Version > 0 {
		data[fieldVersion] = int64(a.Version)
	}
	return data
}

const approvalHelp = `
A write asks Modal for a page on which a person approves a new token, and responds with its url. If Modal gives a code,
the response has it too, and the page shows the same code. No other response has url and code. A person who has the url
chooses the account, so pass the response on with -wrap-ttl. To begin an approval needs no Modal token. Open the url in
any browser and approve: the token goes from Modal to Vault, and no terminal shows a secret. The engine then asks Modal
who owns the token, and makes it current a few seconds later. The old token deletes itself after its grace period.

The person must be the owner of the current token, in the same workspace (force=true accepts another person). For the
admin token only the workspace must be the same. pinned_workspace names the workspace that the token must belong to in
any case. A token that cannot be used deletes itself at once.

A read returns the state: waiting, done, refused, lapsed or cancelled. Once the token is known, the read also returns
its workspace and owner. wait=20s waits up to 20 seconds for the end. A delete cancels the approval. A role has one
approval at a time. The engine asks Modal for another hour after the end: a token that a person approves in this hour
deletes itself.

Example, for the mount modal/:

  vault write -wrap-ttl=15m modal/<path> lapse_after=1h
  vault read modal/<path> wait=20s
`
