// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/engine"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
)

const prefixRevocations = "revocations/"

func (b *Backend) pathRevocations() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      prefixRevocations + "?$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "revocations"},
			Fields:       pageFields(),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: local(parsePage, paged(b.listRevocations), "List the tokens in the revocation queue.", listFields("IDs of the tokens.")),
			},
			HelpSynopsis:    "List the tokens in the revocation queue.",
			HelpDescription: "The revocation queue: tokens that are no longer current and that Modal may still accept. The token that is due first comes first.\n\nExample, for the mount modal/:\n\n  vault list -detailed modal/revocations",
		},
		{
			Pattern:      prefixRevocations + `(?P<` + request.FieldID + `>[^/]+)$`,
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "revocation"},
			Fields: map[string]*framework.FieldSchema{
				request.FieldID: {Type: framework.TypeString, Required: true, Description: "The token's ID (ak-…), or the name of its service user."},
				fieldForce: {
					Type: framework.TypeBool, Query: true,
					Description: "On write: end the token within its grace period. On delete: forget the token although Modal still accepts it or does not answer.",
				},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: mayBeMissing(forwarded(nameOf, b.readRevocation, "Read why a token is in the revocation queue, and the next step.", revocationFields()), noSuchRevocation),
				logical.UpdateOperation: forwarded(parseRevocation, b.retryRevocation, "End the token now, or ask Modal about it.", with(optional(revocationFields()), responses{
					fieldRevoked: required(flag("Whether the token is revoked; the revocation is then gone.")),
					fieldProof:   text(`How the engine knows: "deleted", "rejected" or "rejected twice".`),
				})),
				logical.DeleteOperation: forwarded(parseRevocation, b.deleteRevocation, "Forget a token.", nil),
			},
			HelpSynopsis:    "Read, retry or forget a token in the revocation queue.",
			HelpDescription: strings.TrimSpace(revocationHelp),
		},
	}
}

// revocationRequest is a write or a delete of revocations/<id>.
type revocationRequest struct {
	id    string
	force bool
}

func parseRevocation(in *request.Decoder) revocationRequest {
	return revocationRequest{id: in.Name, force: in.Flag(fieldForce).Apply(false, false)}
}

func revocationFields() responses {
	return with(tokenFields(), responses{
		request.FieldID:   text("ID of the revocation, if it is not the token's ID: the name of the service user, for a lease or for a token that never arrived."),
		request.FieldRole: text("Role that had the token; absent for an admin token."),
		fieldVersion:      number("The token's version in that role; absent if it had none."),
		fieldReason:       required(text("Why the token is in the queue.")),
		fieldMethod:       required(text(`"automatic": the engine deletes the service user, or the token deletes itself; "manual": an operator deletes the token at Modal.`)),
		fieldState:        required(text(`"pending", "leased", "grace period", "in use", "ending", "retrying", "unconfirmed" or "waiting for an operator".`)),
		fieldNextStep:     required(text("The next step.")),
		fieldSince:        required(text("Since when the token is in the queue (RFC 3339).")),
		fieldNotBefore:    required(text("When the engine begins to end the token, or to ask Modal about it (RFC 3339).")),
		fieldAttempts:     required(number("How many attempts the engine has made.")),
		fieldNextAttempt:  required(text("When the engine tries next (RFC 3339).")),
		fieldLastUsedAt:   text("When the token was used last (RFC 3339); absent if Modal does not say."),
		fieldLastAttempt:  text("When the engine tried last (RFC 3339)."),
		fieldLastError:    text("Result of the last attempt."),
	})
}

// optional returns the same fields, none of them required.
func optional(fields responses) responses {
	for _, field := range fields {
		field.Required = false
	}
	return fields
}

// listRevocations reads only the revocations of the page. The whole list has the earliest due first.
func (b *Backend) listRevocations(ctx context.Context, ask page) (*logical.Response, error) {
	entries, unreadable, err := b.revocationsOf(ctx, ask)
	if err != nil {
		return nil, err
	}
	ids, info := make([]string, 0, len(entries)), make(map[string]any, len(entries))
	for _, entry := range entries {
		ids = append(ids, entry.Key())
		summary := map[string]any{fieldState: entry.State(b.engine.Mount.Now()), fieldMethod: entry.Means()}
		if entry.Key() != entry.ID {
			putText(summary, request.FieldTokenID, entry.ID)
		}
		putText(summary, request.FieldRole, entry.Role)
		putTime(summary, fieldNextAttempt, entry.NextAttempt)
		putText(summary, fieldLastError, brief(entry.LastError))
		info[entry.Key()] = summary
	}
	return addUnreadable(logical.ListResponseWithInfo(ids, info), "entries", unreadable), nil
}

func (b *Backend) revocationsOf(ctx context.Context, ask page) (entries []*model.Revocation, unreadable []string, err error) {
	if ask == (page{}) {
		return b.engine.Mount.AllRevocations(ctx)
	}
	ids, err := b.engine.Mount.Revocations.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	return b.engine.Mount.RevocationsNamed(ctx, ask.choose(ids))
}

func (b *Backend) readRevocation(ctx context.Context, req *logical.Request, id string) (*logical.Response, error) {
	entry, err := b.engine.Revocations.Read(ctx, id)
	switch {
	case model.IsNotFound(err):
		return notFound(req, err.Error())
	case err != nil:
		return nil, err
	}
	data := revocationView(ctx, entry, b.engine)
	putTime(data, fieldLastUsedAt, b.engine.Revoker.LastUsed(ctx, entry))
	return &logical.Response{Data: data}, nil
}

func (b *Backend) retryRevocation(ctx context.Context, _ *logical.Request, ask revocationRequest) (*logical.Response, error) {
	ended, err := b.engine.Revocations.End(ctx, ask.id, ask.force)
	if err != nil {
		return nil, err
	}
	data := map[string]any{}
	if ended.Remaining != nil {
		data = revocationView(ctx, ended.Remaining, b.engine)
	}
	putText(data, request.FieldTokenID, ended.TokenID)
	data[fieldRevoked] = ended.Revoked
	putText(data, fieldProof, ended.Proof)
	return &logical.Response{Data: data, Warnings: ended.Warnings}, nil
}

func (b *Backend) deleteRevocation(ctx context.Context, _ *logical.Request, ask revocationRequest) (*logical.Response, error) {
	warnings, err := b.engine.Revocations.Remove(ctx, ask.id, ask.force)
	if err != nil {
		return nil, err
	}
	return orNothing(&logical.Response{Warnings: warnings}), nil
}

// revocationView returns a revocation without the secret. It leaves out id if that is the token's ID.
func revocationView(ctx context.Context, r *model.Revocation, e *engine.Engine) map[string]any {
	data := tokenView(r.Token)
	if r.ID == "" {
		delete(data, request.FieldTokenID)
	}
	if r.Key() != r.ID {
		data[request.FieldID] = r.Key()
	}
	if putText(data, request.FieldRole, r.Role); r.Version > 0 {
		data[fieldVersion] = int64(r.Version)
	}
	data[fieldReason] = r.Reason
	data[fieldMethod] = r.Means()
	data[fieldState] = r.State(e.Mount.Now())
	data[fieldAttempts] = int64(r.Attempts)
	data[fieldNextStep] = e.Revoker.NextStep(ctx, r)
	putTime(data, fieldSince, r.Since)
	putTime(data, fieldNotBefore, r.NotBefore)
	putTime(data, fieldLastAttempt, r.LastAttempt)
	putTime(data, fieldNextAttempt, r.NextAttempt)
	putText(data, fieldLastError, r.LastError)
	return data
}

const revocationHelp = `
A token that is no longer current stays here until Modal rejects it for good. method=automatic means that the engine
deletes the service user that owns the token, or that a member token deletes itself. method=manual means that an
operator deletes the token at Modal: next_step names the page and the command. After a failure the engine tries
again, with back-off.

A write tries now, and responds with revoked=true once the token is revoked. If the engine would delete the token only
after its grace period, a write needs force=true.

proof says how the engine knows: "deleted" if Modal acknowledged the deletion, "rejected" if Modal accepted another
token of the workspace right after it rejected this token, "rejected twice" if there was no such token and Modal
rejected this token again at least an hour later.

A delete forgets a token that is revoked. It forgets any other token only with force=true. It deletes nothing at Modal.

Example, for the mount modal/:

  vault read modal/revocations/ak-…
  vault write modal/revocations/ak-… force=true
`
