// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
)

func (b *backend) pathConfigRotate() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "config/rotate$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "rotate", OperationSuffix: "admin-token"},
		Fields: map[string]*framework.FieldSchema{
			fieldTokenID:     tokenIDField(),
			fieldTokenSecret: tokenSecretField(),
			fieldGracePeriod: gracePeriodField("How long the replaced admin token stays valid (default 1h; 0 ends it at once)."),
			fieldForce: {
				Type:         framework.TypeBool,
				Description:  "Accept a token of another workspace than the last admin token's, or one that cannot manage service users, but none outside of config's pinned_workspace.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Force"},
			},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: forwarded(parseAdminRotation, b.rotateAdmin, "Replace the admin token.", with(configWrittenFields(), adminRotatedFields())),
		},
		HelpSynopsis:    "Replace the admin token by another one, and change nothing else.",
		HelpDescription: strings.TrimSpace(configRotateHelp),
	}}
}

func parseAdminRotation(in *door) model.AdminRotation {
	return model.AdminRotation{
		Supplied: in.supplied(emptyPair),
		Grace:    in.grace(),
		Force:    in.flag(fieldForce).Apply(false, false),
	}
}

func adminRotatedFields() responses {
	return responses{
		fieldChanged:         required(flag("Whether the admin token is another one than before.")),
		fieldPreviousTokenID: text("ID of the admin token that was replaced."),
		fieldMethod:          text(`How it ends: "automatic", or "manual" when an operator has to delete it at Modal.`),
		fieldNotBefore:       text("When it ends (RFC 3339)."),
	}
}

func (b *backend) rotateAdmin(ctx context.Context, _ *logical.Request, ask model.AdminRotation) (*logical.Response, error) {
	done, err := b.engine.Configs.RotateAdmin(ctx, ask)
	if err != nil {
		return nil, err
	}
	data := b.configWrittenView(done.Config)
	data[fieldChanged] = done.Changed
	if done.Previous != nil {
		data[fieldPreviousTokenID] = done.Previous.ID
		data[fieldMethod] = done.Previous.Means()
		data[fieldNextStep] = b.engine.Queue.NextStep(ctx, done.Previous)
		putTime(data, fieldNotBefore, done.Previous.NotBefore)
	}
	return &logical.Response{Data: data, Warnings: done.Warnings}, nil
}

const configRotateHelp = `
A write takes token_id and token_secret of the next admin token. Modal must accept the token, in the same
workspace as the last admin token and as somebody who can manage service users (force=true accepts another).
The replaced token enters the revocation queue and deletes itself after its grace period. A policy can allow
this path alone, as it changes nothing else of config. To have the token approved in a browser instead, write
to config/approval.
`
