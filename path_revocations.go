// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
)

const prefixRevocations = "revocations/"

func (b *backend) pathRevocations() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      prefixRevocations + "?$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "revocations"},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: local(nothing, b.listRevocations, "List the tokens not yet seen refused.", listFields("IDs of the tokens.")),
			},
			HelpSynopsis:    "List the tokens that the engine has not yet seen refused.",
			HelpDescription: "The ledger: every token that is no role's any more and that Modal may still accept, the one due first first.",
		},
		{
			Pattern:      prefixRevocations + `(?P<` + fieldID + `>[^/]+)$`,
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "revocation"},
			Fields: map[string]*framework.FieldSchema{
				fieldID: {Type: framework.TypeString, Required: true, Description: "ID of the entry: the token's ID (ak-…), or the service user's name where the token's never arrived."},
				fieldForce: {
					Type: framework.TypeBool, Query: true,
					Description: "On write: end the token within its grace period. On delete: forget it although Modal still accepts it, or does not answer.",
				},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   local(urlName, b.readRevocation, "Read why a token is in the ledger and what is needed.", revocationFields()),
				logical.UpdateOperation: forwarded(parseRevocation, b.retryRevocation, "End the token now, or ask Modal about it.", with(optional(revocationFields()), responses{fieldRevoked: required(flag("Whether Modal refuses the token; the entry is then gone."))})),
				logical.DeleteOperation: forwarded(parseRevocation, b.forgetRevocation, "Forget a token.", nil),
			},
			HelpSynopsis:    "Read, retry or forget a token of the ledger.",
			HelpDescription: strings.TrimSpace(revocationHelp),
		},
	}
}

// revocationRequest is what a write to or a delete of revocations/<id> asks for.
type revocationRequest struct {
	id    string
	force bool
}

func parseRevocation(in *door) revocationRequest {
	return revocationRequest{id: in.name, force: in.flag(fieldForce).Over(false, false)}
}

func revocationFields() responses {
	return with(tokenFields(), responses{
		fieldID:          required(text("ID of the entry: the token's ID, or the service user's name where the token's never arrived.")),
		fieldRole:        required(text("Role that handed the token out.")),
		fieldVersion:     required(number("The token's version in that role.")),
		fieldReason:      required(text("Why the token has to die.")),
		fieldMethod:      required(text(`"automatic": the engine deletes the service user; "manual": an operator deletes the token at Modal.`)),
		fieldState:       required(text(`"grace period", "unfinished", "due", "retrying", "unconfirmed" or "waiting for an operator".`)),
		fieldNextStep:    required(text("What is needed.")),
		fieldSince:       required(text("Since when the token is in the ledger (RFC 3339).")),
		fieldNotBefore:   required(text("When the engine begins to ask Modal (RFC 3339).")),
		fieldAttempts:    required(number("How often the engine has asked.")),
		fieldNextAttempt: required(text("When it asks next (RFC 3339).")),
		fieldLastAttempt: text("When it asked last (RFC 3339)."),
		fieldLastError:   text("What came of it."),
	})
}

// optional is the same fields with none required.
func optional(fields responses) responses {
	for _, field := range fields {
		field.Required = false
	}
	return fields
}

func (b *backend) listRevocations(ctx context.Context, req *logical.Request, _ struct{}) (*logical.Response, error) {
	entries, unreadable, err := b.ledger(ctx)
	if err != nil {
		return nil, err
	}
	ids, info := make([]string, 0, len(entries)), make(map[string]any, len(entries))
	for _, entry := range entries {
		ids = append(ids, entry.key())
		summary := map[string]any{fieldRole: entry.Role, fieldState: entry.state(b.now()), fieldMethod: entry.Method}
		putTime(summary, fieldNextAttempt, entry.NextAttempt)
		info[entry.key()] = summary
	}
	return addUnreadable(logical.ListResponseWithInfo(ids, info), "entries", unreadable), nil
}

func (b *backend) readRevocation(ctx context.Context, req *logical.Request, id string) (*logical.Response, error) {
	entry, err := b.revocations.Get(ctx, id)
	if err != nil || entry == nil {
		return nil, err
	}
	return &logical.Response{Data: entry.describe(b.now())}, nil
}

func (b *backend) retryRevocation(ctx context.Context, req *logical.Request, ask revocationRequest) (*logical.Response, error) {
	wish := onRequest
	if ask.force {
		wish = byForce
	}
	got, entry, err := b.attend(ctx, ctx, ask.id, wish)
	if err != nil {
		return nil, err
	}
	switch got {
	case verdictGone:
		return nil, refusef("no token %s is in the ledger: it was refused by Modal, forgotten, or never there", ask.id)
	case verdictCurrent:
		return &logical.Response{
			Data:     map[string]any{fieldRevoked: false, fieldTokenID: ask.id},
			Warnings: []string{fmt.Sprintf("token %s is in use (it is a role's current token, or the admin token), so it left the ledger", ask.id)},
		}, nil
	case verdictRevoked:
		return &logical.Response{Data: map[string]any{fieldRevoked: true, fieldTokenID: ask.id}}, nil
	case verdictAccepted, verdictUnknown, verdictNotDue:
	}
	data := entry.describe(b.now())
	data[fieldRevoked] = false
	return &logical.Response{Data: data}, nil
}

// forgetRevocation drops an entry that Modal refuses, and any other only when an operator insists.
func (b *backend) forgetRevocation(ctx context.Context, req *logical.Request, ask revocationRequest) (*logical.Response, error) {
	stored, unlock, err := b.lockEntry(ctx, ctx, ask.id)
	if err != nil || stored == nil {
		return nil, err
	}
	defer unlock()
	if settled, err := b.settledElsewhere(ctx, stored); err != nil || settled != verdictUnknown {
		return nil, err
	}
	entry := *stored
	if ask.force {
		return b.forget(ctx, &entry)
	}
	if err = b.refuseAlive(ctx, &entry); err != nil {
		return nil, err
	}
	return nil, b.conclude(ctx, &entry)
}

// refuseAlive keeps an entry whose token Modal accepts, or whose service user may still be there.
func (b *backend) refuseAlive(ctx context.Context, entry *revocation) error {
	got, err := b.ask(ctx, entry)
	switch {
	case got == verdictAccepted:
		return refusef("Modal still accepts token %s of role %s: %s; or forget it all the same with force=true; the entry stays",
			entry.key(), entry.Role, entry.nextStep(b.now()))
	case isStorageError(err):
		return err
	case modalapi.KindOf(err) != modalapi.KindNone:
		return fmt.Errorf("could not learn whether Modal still accepts token %s of role %s: %w; try again, or forget it all the same with force=true; the entry stays",
			entry.key(), entry.Role, err)
	case err != nil:
		return refusef("could not learn whether Modal still accepts token %s of role %s (%s): try again, or forget it all the same with force=true; the entry stays",
			entry.key(), entry.Role, err)
	case entry.ours() && (entry.expired(b.now()) || !entry.verified() && entry.Secret != ""):
		return refusef("Modal refuses token %s of role %s, and its service user may still be there: %s; or forget it all the same with force=true; the entry stays",
			entry.key(), entry.Role, entry.nextStep(b.now()))
	}
	return nil
}

func (b *backend) forget(ctx context.Context, entry *revocation) (*logical.Response, error) {
	if err := b.drop(ctx, entry); err != nil {
		return nil, err
	}
	b.log().Warn("token forgotten by an operator", "role", entry.Role, "version", entry.Version, "token_id", entry.key())
	return &logical.Response{Warnings: []string{
		fmt.Sprintf("token %s was forgotten without proof that Modal refuses it: %s", entry.key(), entry.howToDelete()),
	}}, nil
}

const revocationHelp = `
A token that a role no longer hands out stays here until Modal refuses it. method=automatic means that
the engine deletes the service user that owns it; method=manual that an operator has to delete the token
at Modal: next_step names the page and the command. The engine tries with back-off. A write tries now,
and answers revoked=true once Modal refuses the token; within the grace period of a token that the
engine would end it takes force=true.

A delete forgets the entry if Modal refuses the token, and otherwise only with force=true. It ends
nothing at Modal.
`
