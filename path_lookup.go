// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/engine"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
)

// tokenIDShape matches the ID of a Modal account token.
var tokenIDShape = regexp.MustCompile(`^ak-[A-Za-z0-9_-]{1,253}$`)

func (b *Backend) pathLookup() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "lookup/?$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "look-up", OperationSuffix: "token"},
		Fields: map[string]*framework.FieldSchema{
			request.FieldTokenID: {
				Type:         framework.TypeString,
				Description:  "ID of a Modal account token (ak-…), for example from an alarm or a log. The secret is not needed.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Token ID"},
			},
			fieldServiceUser: {
				Type:         framework.TypeString,
				Description:  "Name of a service user from Modal's pages, instead of token_id.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Service user"},
			},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: forwarded(parseLookup, b.lookUp, "Look up a token by its ID, and learn how to revoke it.", lookupFields()),
		},
		HelpSynopsis:    "Look up a token by its ID: its role, version and lease, or whether it is the admin token, and the next step.",
		HelpDescription: strings.TrimSpace(lookupHelp),
	}}
}

func parseLookup(in *request.Decoder) engine.LookupRequest {
	return engine.LookupRequest{
		TokenID:     request.CheckedText(in, request.FieldTokenID, request.MaxIDLength, parseTokenID).Apply("", ""),
		ServiceUser: request.Field(in, fieldServiceUser, parseServiceUser).Apply("", ""),
	}
}

func parseTokenID(text string) (id, mistake string) {
	if !tokenIDShape.MatchString(text) {
		return "", `this is no token ID: a token ID begins with "ak-" and has letters and digits after it`
	}
	return text, ""
}

func parseServiceUser(raw any) (name, mistake string) {
	name, mistake = request.ParseText(raw)
	if len(name) > request.MaxIDLength {
		return "", fmt.Sprintf("no service user has a name of more than %d bytes", request.MaxIDLength)
	}
	return name, mistake
}

func lookupFields() responses {
	return responses{
		fieldKind:            required(text(`"current", "previous", "lease", "admin", "orphan" or "unknown".`)),
		request.FieldTokenID: text("ID of the token (ak-…); absent if Vault does not know it."),
		fieldServiceUser:     text("Name of the service user that owns the token; absent for a person's token."),
		request.FieldRole:    text("Role of the token, or the role that had it."),
		fieldDescription:     text("Description of the role; absent if it has none, or if the role was deleted."),
		fieldVersion:         number("The token's version in that role."),
		fieldState:           text("State of the role, of the revocation, or of the admin token."),
		fieldWorkspace:       text("Name of the token's Modal workspace."),
		fieldRevocation:      text("ID under revocations/, for a token in the revocation queue."),
		fieldDisabled:        flag("Whether a person disabled the token at Modal, and can enable it again."),
		fieldLastUsedAt:      text("When the token was used last (RFC 3339); absent if Modal does not say."),
		fieldNextStep:        required(text("The command that revokes the token.")),
	}
}

func (b *Backend) lookUp(ctx context.Context, _ *logical.Request, ask engine.LookupRequest) (*logical.Response, error) {
	if (ask.TokenID == "") == (ask.ServiceUser == "") {
		return nil, model.UserErrorf("write the token's ID (token_id=ak-…), or the name of its service user (service_user=vault-…), and not both; nothing was changed")
	}
	found, err := b.engine.Lookups.Find(ctx, ask)
	if err != nil {
		return nil, err
	}
	data := map[string]any{fieldKind: found.Kind, fieldNextStep: found.NextStep}
	for _, field := range []struct{ name, value string }{
		{request.FieldTokenID, found.TokenID},
		{fieldServiceUser, found.ServiceUser},
		{request.FieldRole, found.Role},
		{fieldDescription, found.Description},
		{fieldState, found.State},
		{fieldWorkspace, found.Workspace},
		{fieldRevocation, found.RevocationID},
	} {
		putText(data, field.name, field.value)
	}
	if found.Version > 0 {
		data[fieldVersion] = int64(found.Version)
	}
	if found.Disabled {
		data[fieldDisabled] = true
	}
	putTime(data, fieldLastUsedAt, found.LastUsed)
	return &logical.Response{Data: data, Warnings: found.Warnings}, nil
}

const lookupHelp = `
Write token_id=ak-…, for example from an alarm or an audit log. The answer says what the token is to this mount and
what revokes it:

  current   a role returns the token: next_step rotates the role and ends the token at once
  previous  a rotation or a deletion replaced the token, and it is in the revocation queue
  lease     a read of a dynamic role received the token
  admin     the token is the admin token in config
  orphan    the token's service user is this mount's, and Vault does not track it
  unknown   this mount does not know the token

The path writes nothing, never returns a secret, and asks Modal once, for three seconds at most.

Example, for the mount modal/:

  vault write modal/lookup token_id=ak-…
`
