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
				logical.ListOperation: local(parsePage, paged(b.listRevocations), "List the tokens not yet seen refused.", listFields("IDs of the tokens.")),
			},
			HelpSynopsis:    "List the tokens that the engine has not yet seen refused.",
			HelpDescription: "The ledger: every token that is no role's any more and that Modal may still accept, the one due first first.",
		},
		{
			Pattern:      prefixRevocations + `(?P<` + request.FieldID + `>[^/]+)$`,
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "revocation"},
			Fields: map[string]*framework.FieldSchema{
				request.FieldID: {Type: framework.TypeString, Required: true, Description: "The token's ID (ak-…), or the name of its service user."},
				fieldForce: {
					Type: framework.TypeBool, Query: true,
					Description: "On write: end the token within its grace period. On delete: forget it although Modal still accepts it, or does not answer.",
				},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: mayBeMissing(forwarded(nameOf, b.readRevocation, "Read why a token is in the ledger and what is needed.", revocationFields()), noSuchRevocation),
				logical.UpdateOperation: forwarded(parseRevocation, b.retryRevocation, "End the token now, or ask Modal about it.", with(optional(revocationFields()), responses{
					fieldRevoked: required(flag("Whether the token is revoked; the revocation is then gone.")),
					fieldProof:   text(`How the engine knows: "deleted", "rejected" or "rejected twice".`),
				})),
				logical.DeleteOperation: forwarded(parseRevocation, b.deleteRevocation, "Forget a token.", nil),
			},
			HelpSynopsis:    "Read, retry or forget a token of the ledger.",
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
		request.FieldID:   text("ID of the revocation where it is not the token's ID: the service user's name, of a lease or where the token never arrived."),
		request.FieldRole: text("Role that the token was of; absent for an admin token."),
		fieldVersion:      number("The token's version in that role; absent where it had none."),
		fieldReason:       required(text("Why the token has to die.")),
		fieldMethod:       required(text(`"automatic": the engine deletes the service user, or the token deletes itself; "manual": an operator deletes the token at Modal.`)),
		fieldState:        required(text(`"pending", "leased", "grace period", "in use", "ending", "retrying", "unconfirmed" or "waiting for an operator".`)),
		fieldNextStep:     required(text("What is needed.")),
		fieldSince:        required(text("Since when the token is in the ledger (RFC 3339).")),
		fieldNotBefore:    required(text("When the engine begins to end the token, or to ask Modal about it (RFC 3339).")),
		fieldAttempts:     required(number("How often the engine has asked.")),
		fieldNextAttempt:  required(text("When it asks next (RFC 3339).")),
		fieldLastUsedAt:   text("When the token was used last, where Modal tells (RFC 3339)."),
		fieldLastAttempt:  text("When it asked last (RFC 3339)."),
		fieldLastError:    text("What came of it."),
	})
}

// optional returns the same fields, none of them required.
func optional(fields responses) responses {
	for _, field := range fields {
		field.Required = false
	}
	return fields
}

func (b *Backend) listRevocations(ctx context.Context) (*logical.Response, error) {
	entries, unreadable, err := b.engine.Mount.Revocations(ctx)
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

func (b *Backend) readRevocation(ctx context.Context, req *logical.Request, id string) (*logical.Response, error) {
	entry, err := b.engine.Revocations.Read(ctx, id)
	switch {
	case model.IsNotFound(err):
		return notFound(req, err.Error())
	case err != nil:
		return nil, err
	}
	data := revocationView(ctx, entry, b.engine)
	putTime(data, fieldLastUsedAt, b.engine.Queue.LastUsed(ctx, entry))
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
	data[fieldNextStep] = e.Queue.NextStep(ctx, r)
	putTime(data, fieldSince, r.Since)
	putTime(data, fieldNotBefore, r.NotBefore)
	putTime(data, fieldLastAttempt, r.LastAttempt)
	putTime(data, fieldNextAttempt, r.NextAttempt)
	putText(data, fieldLastError, r.LastError)
	return data
}

const revocationHelp = `
A token that is no longer current stays here until Modal rejects it for good. method=automatic means that the engine
deletes the service user that owns the token, or has a member token delete itself. method=manual means that an
operator deletes the token at Modal: next_step names the page and the command. The engine tries again with back-off.
A write tries now, and answers revoked=true once the token is revoked. Within the grace period of a token that the
engine would delete, a write takes force=true.

proof says how the engine knows: "deleted" if Modal acknowledged the deletion, "rejected" if Modal accepted another
token of the workspace right after it rejected this one, "rejected twice" if there was no such token and Modal
rejected this one again at least an hour later.

A delete forgets a token that is revoked, and any other only with force=true. It deletes nothing at Modal.
`
