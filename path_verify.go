// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
)

func (b *Backend) pathVerify() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "verify/" + rolePattern + "$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "verify", OperationSuffix: "role"},
		Fields:       map[string]*framework.FieldSchema{request.FieldRole: roleNameField()},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: forwarded(nameOf, b.verifyRole, "Ask Modal about a role's current token now.", verifiedFields()),
		},
		HelpSynopsis:    "Ask Modal about a role's current token now.",
		HelpDescription: strings.TrimSpace(verifyHelp),
	}}
}

func verifiedFields() responses {
	return with(tokenFields(), responses{
		fieldAccepted:         required(flag("Whether Modal accepts the token.")),
		fieldVersion:          required(number("Counter of the role's tokens, from 1.")),
		fieldEnvironmentRoles: {Type: framework.TypeKVPairs, Description: "Managed roles: environment roles of the service user at Modal; absent if Modal does not say."},
		fieldRolesDiffer:      flag("Managed roles: whether these environment roles differ from the role's."),
		fieldLastUsedAt:       text("When the token was used last, before this request (RFC 3339); absent if Modal does not say."),
		fieldReason:           text("Why Modal rejects the token."),
		fieldNextStep:         required(text("The next step.")),
	})
}

func (b *Backend) verifyRole(ctx context.Context, _ *logical.Request, name string) (*logical.Response, error) {
	v, err := b.engine.Verifier.Verify(ctx, name)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: verificationView(v), Warnings: v.Warnings}, nil
}

func verificationView(v *model.Verification) map[string]any {
	data := tokenView(v.Token)
	data[fieldAccepted] = v.Accepted
	data[fieldVersion] = int64(v.Version)
	data[fieldNextStep] = v.NextStep
	if v.Roles != nil {
		data[fieldEnvironmentRoles] = v.Roles
		data[fieldRolesDiffer] = v.RolesDiffer
	}
	putTime(data, fieldLastUsedAt, v.LastUsed)
	putText(data, fieldReason, v.Reason)
	return data
}

const verifyHelp = `
If Modal rejects the token, the response has accepted=false. A managed role is then rotated within about a minute,
unless its rotation is disabled. A static role shows as rejected until an operator brings another token or a person
approves a new token. If the environment roles of a managed role differ at Modal, the engine sets them again, as far as
config allows them. If Modal reports another expiry than the stored expiry, the engine stores it, moves the next
rotation and warns. The engine also asks about each current token by itself, once per verification_interval of config.

Example, for the mount modal/:

  vault write -f modal/verify/ci
`
