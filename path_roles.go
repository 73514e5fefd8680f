// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
)

const prefixRoles = "roles/"

func (b *backend) pathRoles() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      prefixRoles + "?$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "roles"},
			Fields:       pageFields(),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: local(parsePage, paged(b.listRoles), "List the roles.", listFields("Names of the roles.")),
			},
			HelpSynopsis:    "List the roles.",
			HelpDescription: "Names of the roles, with type, version, state and next rotation of each.",
		},
		{
			Pattern:      prefixRoles + rolePattern + "$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "role"},
			Fields: with(map[string]*framework.FieldSchema{fieldRole: roleNameField(), fieldForce: {
				Type: framework.TypeBool, Query: true,
				Description: "On write, of static roles: take the token of a service user that a mount of this engine created, which that mount will delete. " +
					"On delete: revoke all tokens of the role that the engine can revoke, earlier versions too, at once; and delete a role of which something stored cannot be read.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Force"},
			}}, policyFields(), pairFields()),
			ExistenceCheck: b.roleExists,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   missing(local(urlName, b.readRole, "Read a role's policy.", policyFields()), noSuchRole),
				logical.CreateOperation: forwarded(parseRole, b.writeRole, "Create a role with its first token, or change its policy.", writtenFields()),
				logical.UpdateOperation: forwarded(parseRole, b.writeRole, "Create a role with its first token, or change its policy.", writtenFields()),
				logical.DeleteOperation: noContent(forwarded(parseDelete, b.deleteRole, "Delete a role; its token stays valid for the grace period unless forced.", deletedFields()),
					"There was no such role."),
			},
			HelpSynopsis:    "Manage a role: which Modal token it returns, and how.",
			HelpDescription: strings.TrimSpace(roleHelp),
		},
	}
}

func pairFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldTokenID: tokenIDField(), fieldTokenSecret: tokenSecretField(), fieldVerify: verifyField(),
	}
}

// writtenFields are the answer to a write.
func writtenFields() responses {
	return with(tokenFields(), responses{
		fieldType:         required(text("Type of the role.")),
		fieldVersion:      number("Counter of the role's tokens, from 1; absent for a role without a token of its own."),
		fieldNextRotation: text("When the engine rotates the token, or by when an operator should (RFC 3339); absent for a role without a token."),
		fieldNextStep:     required(text("What comes next.")),
		fieldNextFirings: {
			Type: framework.TypeStringSlice, Description: "The next three times that rotation_schedule fires (RFC 3339), where there is one.",
		},
	})
}

func (b *backend) roleExists(ctx context.Context, _ *logical.Request, d *framework.FieldData) (bool, error) {
	r, err := b.engine.Roles.Read(ctx, textOf(d, fieldRole))
	return r != nil, err
}

func (b *backend) listRoles(ctx context.Context) (*logical.Response, error) {
	rotations, unreadable, err := b.engine.Mount.Rotations(ctx)
	if err != nil {
		return nil, err
	}
	return addUnreadable(rotationList(rotations, false), "roles", unreadable), nil
}

func (b *backend) readRole(ctx context.Context, _ *logical.Request, name string) (*logical.Response, error) {
	r, err := b.engine.Roles.Read(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, absent(b.engine.Mount.NoSuchRole(ctx, name, ""))
	}
	return &logical.Response{Data: roleView(r, name)}, nil
}

func (b *backend) writeRole(ctx context.Context, req *logical.Request, ask model.RoleWrite) (*logical.Response, error) {
	ask.Expect = expected(req)
	done, err := b.engine.Roles.Write(ctx, ask)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: b.writtenView(ctx, done.Rotation), Warnings: done.Warnings}, nil
}

// deleteRequest is what a delete of roles/<role> asks for.
type deleteRequest struct {
	name  string
	force bool
}

func parseDelete(in *door) deleteRequest {
	return deleteRequest{name: in.name, force: in.flag(fieldForce).Apply(false, false)}
}

func (b *backend) deleteRole(ctx context.Context, _ *logical.Request, ask deleteRequest) (*logical.Response, error) {
	done, err := b.engine.Roles.Delete(ctx, ask.name, ask.force)
	if err != nil || done == nil {
		return nil, err
	}
	data := map[string]any{fieldRevoked: int64(done.Revoked), fieldLeft: int64(done.Left), fieldNextStep: done.NextStep}
	if done.Tokens != nil {
		data[fieldTokens] = done.Tokens
	}
	return &logical.Response{Data: data}, nil
}

func deletedFields() responses {
	return responses{
		fieldTokens: {
			Type: framework.TypeStringSlice, Description: "A line for each token of the role: what becomes of it, and when. Absent when the role had none.",
		},
		fieldRevoked:  required(number("How many tokens Modal rejects by now.")),
		fieldLeft:     required(number("How many tokens are in the revocation queue.")),
		fieldNextStep: required(text("What comes next.")),
	}
}

const roleHelp = `
A static role holds one Modal account token that an operator brings. Create it with type=static,
token_id and token_secret; Modal is asked whose token it is before anything is stored (verify=false
stores it unproven). Without the pair the role waits for its first token, which a person approves with
rotate/<role>/approval. One token has one role. The member token that a rotation replaces deletes itself
after the grace period; revoke_previous=false leaves that to you.

A managed role holds the token of a Modal service user that the engine makes, with the environment_roles
of the role and no more, and replaces on schedule. Create it with type=managed and
environment_roles=main=contributor, say; config needs an admin token.

A dynamic role holds no token: each read of creds/<role> has the engine make a service user, whose token ends
with the read's lease. Create it with type=dynamic and environment_roles; ttl and max_ttl are the lease's, and
max_leases is how many there may be at a time.

A write merges: a field that is absent or null keeps its value, an empty one returns to its default. It
never mints a token: environment_roles change the living service user, scoped and token_ttl wait for the next
rotation. A write that narrows a dynamic role narrows its living leases too, and counts those that keep more. Type and token cannot change here: another token is for rotate/<role>.

A delete puts the role's token into the revocation queue ("revocations"), where it keeps the role's grace
period. force=true revokes all tokens of the role that the engine can revoke, earlier versions too, at once. The
token of a static role is left to you in any case: revocations/<id> with force=true revokes it. The answer has a
line for each token. force=true also deletes a role of which something stored cannot be read.
`
