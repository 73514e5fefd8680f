// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
)

const prefixRotate = "rotate/"

func (b *backend) pathRotate() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      prefixRotate + "?$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "rotations"},
			Fields:       pageFields(),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: local(parsePage, paged(b.listRotations), "List the roles by urgency of rotation.", listFields("Names of the roles, the most urgent first.")),
			},
			HelpSynopsis:    "List the roles by urgency of rotation.",
			HelpDescription: "All roles, with state and next rotation of each: those that Modal refuses, that fail and that are overdue first, then the rest by their next rotation.",
		},
		{
			Pattern:      prefixRotate + rolePattern + "$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "role-rotation"},
			Fields: with(pairFields(), map[string]*framework.FieldSchema{
				fieldRole:        roleNameField(),
				fieldGracePeriod: gracePeriodField("How long the previous token stays valid after this rotation (default: the role's; 0 ends it at once)."),
				fieldForce: {
					Type:         framework.TypeBool,
					Description:  "Static roles: accept a token of another workspace or identity than the current one's.",
					DisplayAttrs: &framework.DisplayAttributes{Name: "Force"},
				},
				fieldToPrevious: {
					Type:         framework.TypeBool,
					Description:  "Go back to the previous token, within its grace period.",
					DisplayAttrs: &framework.DisplayAttributes{Name: "To previous"},
				},
				fieldDryRun: {
					Type:         framework.TypeBool,
					Description:  "Run every check and say what would be done, and what would fail; change nothing here or at Modal.",
					DisplayAttrs: &framework.DisplayAttributes{Name: "Dry run"},
				},
			}),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: missing(local(urlName, b.readRotation, "Read the state of a role's rotation.", rotationFields()), noSuchRole),
				logical.UpdateOperation: forwarded(parseRotate, b.writeRotation, "Rotate a role's token now.",
					with(tokenFields(), rotatedFields(), plannedFields())),
			},
			HelpSynopsis:    "Rotate a role's token now, or read how its rotation stands.",
			HelpDescription: strings.TrimSpace(rotateHelp),
		},
	}
}

// rotating is a rotation in earnest, or a dry run of it.
type rotating struct {
	model.RotateRequest

	dryRun bool
}

func parseRotate(in *door) rotating {
	ask := rotating{dryRun: in.flag(fieldDryRun).Apply(false, false), RotateRequest: model.RotateRequest{
		Supplied:   in.supplied(emptyPair),
		Role:       in.name,
		Force:      in.flag(fieldForce).Apply(false, false),
		ToPrevious: in.flag(fieldToPrevious).Apply(false, false),
		Grace:      in.grace(),
	}}
	if ask.Force {
		ask.Given = append(ask.Given, fieldForce)
	}
	if ask.ToPrevious && ask.Token != nil {
		in.refuse(fieldToPrevious, "this goes back to a token that is here already: leave token_id and token_secret out")
	}
	return ask
}

func rotationFields() responses {
	return with(tokenFields(), responses{
		fieldType:              required(text("Type of the role.")),
		fieldVersion:           number("Counter of the role's tokens, from 1; absent for a role without a token."),
		fieldState:             required(text(`"rejected", "failing", "overdue", "disabled" or "ok": the first that holds.`)),
		fieldLastVaultRotation: text("When the current token became current (RFC 3339); absent for a role without a token."),
		fieldRotationPeriod:    required(number("Seconds between rotations.")),
		fieldNextRotation:      text("When the engine rotates the token, or by when an operator should (RFC 3339); absent for a role without a token."),
		fieldAttempts:          number("How often the engine has tried since, and failed."),
		fieldLastAttempt:       text("When it tried last (RFC 3339)."),
		fieldNextAttempt:       text("When it tries next (RFC 3339)."),
		fieldLastError:         text("What came of it."),
		fieldLate:              number("Seconds that the rotation is late; absent when it is not."),
		fieldPaused:            flag("true while the engine is paused, so that it does not rotate by itself; absent otherwise."),
		fieldPreviousTokens: {
			Type: framework.TypeStringSlice, Description: "IDs of the role's tokens that the engine has not yet seen refused: revocations/<id> tells of each.",
		},
	})
}

func rotatedFields() responses {
	return responses{
		fieldVersion:           number("Counter of the role's tokens, from 1."),
		fieldChanged:           flag("Whether the role has another token than before; false where the write brought the one that it has."),
		fieldLastVaultRotation: text("When this token became current (RFC 3339)."),
		fieldNextRotation:      text("When the engine rotates the token (RFC 3339)."),
		fieldPreviousTokenID:   text("ID of the token that was current before."),
		fieldGracePeriod:       number("Seconds that the previous token stays valid."),
		fieldNotBefore:         text("When the previous token's grace period ends, and the engine ends the token or begins to ask whether Modal refuses it (RFC 3339)."),
		fieldMethod:            text(`How the previous token ends: "automatic", or "manual" when an operator has to delete it at Modal.`),
		fieldNextStep:          text("What is needed for the previous token."),
	}
}

func plannedFields() responses {
	return responses{
		fieldDryRun:   flag("Whether nothing was done."),
		fieldPlan:     text("Dry run: what a rotation would do, as one numbered text."),
		fieldProblems: text("Dry run: what would fail, as one numbered text; absent when nothing would."),
	}
}

func (b *backend) listRotations(ctx context.Context) (*logical.Response, error) {
	rotations, unreadable, err := b.engine.Mount.Rotations(ctx)
	if err != nil {
		return nil, err
	}
	rotations = slices.DeleteFunc(rotations, func(r *model.Rotation) bool { return r.Role.Dynamic != nil }) // each read has a token of its own
	model.SortByUrgency(rotations)
	return addUnreadable(rotationList(rotations, true), "roles", unreadable), nil
}

func (b *backend) readRotation(ctx context.Context, req *logical.Request, name string) (*logical.Response, error) {
	r, previous, err := b.engine.Mount.RotationWithPrevious(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return notFound(req, b.engine.Mount.NoSuchRole(ctx, name, ""))
	case r.Role.Dynamic != nil:
		return nil, model.UserErrorf("role %s is dynamic: each read of %screds/%s has a token of its own: %s shows them", name, req.MountPoint, name, b.engine.Mount.Commands().ListDetailed("revocations"))
	}
	data := rotationView(r)
	var ids []string
	for _, entry := range previous {
		ids = append(ids, entry.Key())
	}
	if ids != nil {
		data[fieldPreviousTokens] = ids
	}
	cfg, err := b.engine.Configs.Read(ctx)
	if err != nil {
		return nil, err
	}
	if cfg != nil && cfg.Paused {
		data[fieldPaused] = true
	}
	return &logical.Response{Data: data}, nil
}

func (b *backend) writeRotation(ctx context.Context, _ *logical.Request, ask rotating) (*logical.Response, error) {
	if ask.dryRun {
		plan, err := b.engine.Rotations.Plan(ctx, ask.RotateRequest)
		if err != nil {
			return nil, err
		}
		return planView(plan), nil
	}
	done, err := b.engine.Rotations.Rotate(ctx, ask.RotateRequest)
	if err != nil {
		return nil, err
	}
	return turnoverView(ctx, done, b.engine), nil
}

const rotateHelp = `
A write to a static role takes the new token_id and token_secret. Modal must accept the pair, as the
same workspace and identity as the current token's (force=true accepts another). The new token is
current once the write returns; the old one stays valid for the grace period and is followed in the
ledger until Modal refuses it.

A write to a managed role takes no token: the engine makes a new service user, sees Modal accept its
token with the role's environment_roles, makes it current, and deletes the old service user when the
grace period is over.

to_previous=true goes back to the previous token while its grace period lasts. dry_run=true runs the
checks and changes nothing.

A read tells version, token ID, dates, lateness, failed attempts and the previous tokens. None of them
shows a secret.
`
