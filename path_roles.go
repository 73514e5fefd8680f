// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const prefixRoles = "roles/"

func (b *backend) pathRoles() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      prefixRoles + "?$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "roles"},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: local(nothing, b.listRoles, "List the roles.", listFields("Names of the roles.")),
			},
			HelpSynopsis:    "List the roles.",
			HelpDescription: "Names of the roles, with type, version and next rotation of each.",
		},
		{
			Pattern:      prefixRoles + rolePattern + "$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "role"},
			Fields: with(map[string]*framework.FieldSchema{fieldRole: roleNameField(), fieldForce: {
				Type:         framework.TypeBool,
				Description:  "Static roles: take the token of a service user that a mount of this engine made, which that mount will delete.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Force"},
			}}, policyFields(), pairFields()),
			ExistenceCheck: b.roleExists,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   local(urlName, b.readRole, "Read a role's policy.", policyFields()),
				logical.CreateOperation: forwarded(parseRole, b.writeRole, "Create a role with its first token, or change its policy.", writtenFields()),
				logical.UpdateOperation: forwarded(parseRole, b.writeRole, "Create a role with its first token, or change its policy.", writtenFields()),
				logical.DeleteOperation: forwarded(urlName, b.deleteRole, "Delete a role; its token goes to the ledger.", nil),
			},
			HelpSynopsis:    "Manage a role: which Modal token it hands out, and how.",
			HelpDescription: strings.TrimSpace(roleHelp),
		},
	}
}

func pairFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldTokenID: tokenIDField(), fieldTokenSecret: tokenSecretField(), fieldVerify: verifyField(),
	}
}

func policyFields() map[string]*framework.FieldSchema {
	return with(managedFields(), map[string]*framework.FieldSchema{
		fieldType: {
			Type: framework.TypeString, AllowedValues: []any{typeStatic, typeManaged},
			Description:  "Type of the role: static (an operator brings the tokens) or managed (the engine mints them). Cannot change.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Type"},
		},
		fieldProfile: {
			Type:         framework.TypeString,
			Description:  "Name of the profile in .modal.toml (default: the role's name).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Profile"},
		},
		fieldEnvironment: {
			Type:         framework.TypeString,
			Description:  "Modal environment to hand out with the token, as MODAL_ENVIRONMENT.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Environment"},
		},
		fieldRefreshInterval: {
			Type:         framework.TypeDurationSecond,
			Description:  "How often a consumer should read again (default 5m, 5s to 24h).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Refresh interval", Value: "5m"},
		},
		fieldGracePeriod: gracePeriodField("How long the previous token stays valid after a rotation (default 24h, up to a year)."),
		fieldRotationPeriod: {
			Type: framework.TypeDurationSecond,
			Description: "Age at which a token is replaced (default 90d): by the engine for a managed role, by an operator " +
				"for a static one, whose reads warn past it.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Rotation period", Value: "90d"},
		},
	})
}

// roleWrite is what a write to roles/<role> asks for.
type roleWrite struct {
	supplied

	name                                         string
	kind, profile, environment                   Change[string]
	refreshInterval, gracePeriod, rotationPeriod Change[time.Duration]
	managed                                      managedWrite
	force                                        bool
}

func parseRole(in *door) roleWrite {
	return roleWrite{
		supplied:        in.supplied(emptyPair),
		name:            in.name,
		kind:            checked(in, fieldType, maxToldName, parseType),
		profile:         checked(in, fieldProfile, maxProfile, parseProfile),
		environment:     checked(in, fieldEnvironment, maxToldName, parseEnvironment),
		refreshInterval: in.duration(fieldRefreshInterval, minTTL, maxRefreshInterval),
		gracePeriod:     in.duration(fieldGracePeriod, 0, maxGracePeriod),
		rotationPeriod:  in.duration(fieldRotationPeriod, minTTL, maxRotationPeriod),
		managed:         parseManaged(in),
		force:           in.flag(fieldForce).Over(false, false),
	}
}

func parseType(text string) (kind, mistake string) {
	if text != typeStatic && text != typeManaged {
		return "", "this version of the plugin has " + typeStatic + " and " + typeManaged
	}
	return text, ""
}

func parseProfile(text string) (profile, mistake string) {
	if !profileName.MatchString(text) {
		return "", `use letters, digits, "_", "." and "-", which all Modal clients read`
	}
	return text, ""
}

// writtenFields are the answer to a write.
func writtenFields() responses {
	return responses{fieldNextFirings: {
		Type: framework.TypeStringSlice, Description: "The next three times that rotation_schedule fires (RFC 3339), where there is one.",
	}}
}

func (b *backend) roleExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	r, err := b.roles.Get(ctx, textOf(d, fieldRole))
	return r != nil, err
}

func (b *backend) listRoles(ctx context.Context, req *logical.Request, _ struct{}) (*logical.Response, error) {
	rotations, unreadable, err := b.rotations(ctx)
	if err != nil {
		return nil, err
	}
	return addUnreadable(rotationList(rotations, false), "roles", unreadable), nil
}

func (b *backend) readRole(ctx context.Context, req *logical.Request, name string) (*logical.Response, error) {
	r, err := b.roles.Get(ctx, name)
	if err != nil || r == nil {
		return nil, err
	}
	return &logical.Response{Data: r.describe(name)}, nil
}

func (b *backend) writeRole(ctx context.Context, req *logical.Request, ask roleWrite) (*logical.Response, error) {
	name := ask.name
	unlock, err := b.lockRole(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	before, err := b.roles.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if err = refuseOvertaken(req, "role "+name, before != nil); err != nil {
		return nil, err
	}
	var after *role
	resp := &logical.Response{}
	if before == nil {
		after, err = b.createRole(ctx, ask, resp)
	} else {
		after, err = b.updateRole(ctx, req, before, ask, resp)
	}
	if err != nil {
		return nil, err
	}
	if before == nil || !reflect.DeepEqual(before, after) {
		b.log().Info("role written", append([]any{"role", name, "operation", req.Operation}, after.privileges(before)...)...)
		b.event(ctx, eventRoleWrite, change{
			path: prefixRoles + name, dataPath: prefixCreds + name, operation: req.Operation, modified: true, role: name,
		})
	}
	resp.Data = after.upcoming(b.now())
	return orNothing(resp), nil
}

// createRole stores the first token and then the role: a role exists once its own entry does.
func (b *backend) createRole(ctx context.Context, ask roleWrite, resp *logical.Response) (*role, error) {
	r, err := newRole().merge(ask)
	if err != nil {
		return nil, err
	}
	if r.Type == typeManaged {
		return r, b.createManaged(ctx, r, ask, resp)
	}
	return r, b.createStatic(ctx, r, ask, resp)
}

// establish stores a new role with its first token.
func (b *backend) establish(ctx context.Context, name string, r *role, first Token) error {
	cred := newCredential(r, first, b.now())
	return b.hold(ctx, first.ID, name, func() error {
		if err := b.credentials.Put(ctx, name, cred); err != nil {
			return err
		}
		return b.roles.Put(ctx, name, r)
	})
}

func (b *backend) updateRole(ctx context.Context, req *logical.Request, before *role, ask roleWrite, resp *logical.Response) (*role, error) {
	after, err := before.merge(ask)
	if err != nil {
		return nil, err
	}
	resp.Warnings = after.warnings()
	if after.Type == typeManaged {
		return after, b.updateManaged(ctx, before, after, ask, resp)
	}
	if ask.pair != nil {
		if err = b.confirmToken(ctx, req, ask.name, *ask.pair, ask.verify); err != nil {
			return nil, err
		}
	}
	resp.Warnings = append(resp.Warnings, ask.warnings...)
	if *after == *before {
		return after, nil
	}
	return after, b.roles.Put(ctx, ask.name, after)
}

// deleteRole moves the token to the ledger before it removes the role, and asks nothing of Modal.
func (b *backend) deleteRole(ctx context.Context, req *logical.Request, name string) (*logical.Response, error) {
	unlock, err := b.lockRole(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	cred, err := b.credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := b.roles.Get(ctx, name)
	if err != nil || (r == nil && cred == nil) {
		return nil, err
	}
	if err := b.removeRole(ctx, name, r, cred); err != nil {
		return nil, err
	}
	b.log().Info("role deleted", "role", name)
	b.event(ctx, eventRoleDelete, change{path: prefixRoles + name, operation: req.Operation, modified: true, role: name})
	return b.stillValid(ctx, req, name)
}

func (b *backend) removeRole(ctx context.Context, name string, r *role, cred *credential) error {
	b.handover.Lock()
	defer b.handover.Unlock()
	if r != nil && cred != nil {
		entry := newRevocation(name, r, cred, reasonRoleDeleted, b.now(), 0)
		if err := b.revocations.Put(ctx, entry.ID, entry); err != nil {
			return err
		}
	}
	if err := b.roles.Delete(ctx, name); err != nil {
		return err
	}
	return b.credentials.Delete(ctx, name)
}

// stillValid tells what of a deleted role Modal still accepts.
func (b *backend) stillValid(ctx context.Context, req *logical.Request, name string) (*logical.Response, error) {
	resp := &logical.Response{}
	entries, err := b.previousTokens(ctx, name)
	if err != nil {
		resp.AddWarning(fmt.Sprintf("the role is gone from Vault, and a part of the ledger cannot be read: %s", err))
	}
	for _, entry := range entries {
		resp.AddWarning(fmt.Sprintf("the role is gone from Vault, and token %s (version %d) of %s is still valid at Modal; what is needed: %s; "+
			"%srevocations/%s follows it until Modal refuses it", entry.key(), entry.Version, entry.owner(), entry.nextStep(b.now()), req.MountPoint, entry.key()))
	}
	return orNothing(resp), nil
}

const roleHelp = `
A static role holds one Modal account token that an operator brings. Create it with type=static,
token_id and token_secret; Modal is asked whose token it is before anything is stored (verify=false
stores it unproven). One token has one role.

A managed role holds the token of a Modal service user that the engine makes, with the environment_roles
of the role and no more, and replaces on schedule. Create it with type=managed and
environment_roles=main=contributor, say; config needs an admin token.

A write merges: a field that is absent or null keeps its value, an empty one returns to its default. It
never mints a token: environment_roles change the living service user, scoped and token_ttl wait for the next
rotation. Type and token cannot change here: another token is for rotate/<role>.

Deleting a role does not touch Modal: its token moves to the ledger, and the answer says what Modal
still accepts.
`
