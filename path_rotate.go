// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const prefixRotate = "rotate/"

func (b *backend) pathRotate() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      prefixRotate + "?$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "rotations"},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: local(nothing, b.listRotations, "List the roles by urgency of rotation.", listFields("Names of the roles, the most urgent first.")),
			},
			HelpSynopsis:    "List the roles by urgency of rotation.",
			HelpDescription: "All roles, the one that should be rotated first first, with state and next rotation of each.",
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
				logical.ReadOperation: local(urlName, b.readRotation, "Read the state of a role's rotation.", rotationFields()),
				logical.UpdateOperation: forwarded(parseRotate, b.writeRotation, "Rotate a role's token now.",
					with(tokenFields(), rotatedFields(), plannedFields())),
			},
			HelpSynopsis:    "Rotate a role's token now, or read how its rotation stands.",
			HelpDescription: strings.TrimSpace(rotateHelp),
		},
	}
}

// rotateRequest is what a write to rotate/<role> asks for.
type rotateRequest struct {
	supplied

	role       string
	grace      *time.Duration // nil for the role's
	force      bool
	toPrevious bool
	dryRun     bool
}

func parseRotate(in *door) rotateRequest {
	ask := rotateRequest{
		supplied:   in.supplied(emptyPair),
		role:       in.name,
		force:      in.flag(fieldForce).Over(false, false),
		toPrevious: in.flag(fieldToPrevious).Over(false, false),
		dryRun:     in.flag(fieldDryRun).Over(false, false),
	}
	if grace := in.duration(fieldGracePeriod, 0, maxGracePeriod); grace.asked && !grace.reset {
		ask.grace = &grace.value
	}
	if ask.toPrevious && ask.pair != nil {
		in.refuse(fieldToPrevious, "this goes back to a token that is here already: leave token_id and token_secret out")
	}
	return ask
}

// graceOr is the grace period of the previous token, where the role says otherwise.
func (ask rotateRequest) graceOr(role time.Duration) time.Duration {
	if ask.grace == nil {
		return role
	}
	return *ask.grace
}

func rotationFields() responses {
	return with(tokenFields(), responses{
		fieldType:              required(text("Type of the role.")),
		fieldVersion:           required(number("Counter of the role's tokens, from 1.")),
		fieldState:             required(text(`"overdue", "failing", "due" or "disabled".`)),
		fieldLastVaultRotation: required(text("When the current token became current (RFC 3339).")),
		fieldRotationPeriod:    required(number("Seconds between rotations.")),
		fieldNextRotation:      required(text("When the engine rotates the token, or by when an operator should (RFC 3339).")),
		fieldAttempts:          number("How often the engine has tried since, and failed."),
		fieldLastAttempt:       text("When it tried last (RFC 3339)."),
		fieldNextAttempt:       text("When it tries next (RFC 3339)."),
		fieldLastError:         text("What came of it."),
		fieldLate:              required(number("Seconds that the rotation is late; 0 when it is not.")),
		fieldPreviousTokens: {
			Type: framework.TypeSlice, Description: "The role's tokens that the engine has not yet seen refused, as in revocations/<id>.",
		},
	})
}

func rotatedFields() responses {
	return responses{
		fieldVersion:           number("Counter of the role's tokens, from 1."),
		fieldLastVaultRotation: text("When this token became current (RFC 3339)."),
		fieldNextRotation:      text("When the engine rotates the token (RFC 3339)."),
		fieldPreviousTokenID:   text("ID of the token that was current before."),
		fieldGracePeriod:       number("Seconds that the previous token stays valid."),
		fieldNotBefore:         text("When the engine begins to ask whether Modal refuses the previous token (RFC 3339)."),
		fieldMethod:            text(`How the previous token ends: "automatic", or "manual" when an operator has to delete it at Modal.`),
		fieldNextStep:          text("What is needed for the previous token."),
	}
}

func (b *backend) listRotations(ctx context.Context, req *logical.Request, _ struct{}) (*logical.Response, error) {
	rotations, unreadable, err := b.rotations(ctx)
	if err != nil {
		return nil, err
	}
	byUrgency(rotations)
	return addUnreadable(rotationList(rotations, true), "roles", unreadable), nil
}

func (b *backend) readRotation(ctx context.Context, req *logical.Request, name string) (*logical.Response, error) {
	r, err := b.rotation(ctx, name)
	if err != nil || r == nil {
		return nil, err
	}
	previous, err := b.previousTokens(ctx, name)
	if err != nil {
		return nil, err
	}
	data := r.describe()
	tokens := make([]any, 0, len(previous))
	for _, entry := range previous {
		tokens = append(tokens, entry.describe(b.now()))
	}
	if len(tokens) > 0 {
		data[fieldPreviousTokens] = tokens
	}
	return &logical.Response{Data: data}, nil
}

func (b *backend) writeRotation(ctx context.Context, req *logical.Request, ask rotateRequest) (*logical.Response, error) {
	name := ask.role
	unlock, err := b.lockRole(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	now, err := b.rotation(ctx, name)
	if err != nil {
		return nil, err
	}
	if now == nil {
		return nil, refusef("no role is named %s: create it with: vault write %sroles/%s type=%s token_id=… token_secret=…",
			name, req.MountPoint, name, typeStatic)
	}
	resp, err := b.rotateRole(ctx, req, now, ask)
	if err != nil && !isMistake(err) {
		b.log().Warn("rotation failed", "role", name, "version", now.cred.Version, "error", err)
		b.event(ctx, eventRotateFail, change{
			path: prefixRotate + name, dataPath: prefixCreds + name, operation: req.Operation,
			role: name, version: now.cred.Version, tokenID: now.cred.ID,
		})
	}
	return resp, err
}

// rotateRole picks the kind of rotation that was asked for. The caller holds the role's lock.
func (b *backend) rotateRole(ctx context.Context, req *logical.Request, now *rotation, ask rotateRequest) (*logical.Response, error) {
	if now.role.Type == typeManaged {
		if err := ask.refuseForManaged(); err != nil {
			return nil, err
		}
	}
	grace := ask.graceOr(now.role.GracePeriod)
	if !ask.dryRun {
		if err := b.refuseCrowd(ctx, now, grace); err != nil {
			return nil, err
		}
	}
	var done *turnover
	var err error
	switch {
	case ask.dryRun:
		return b.dryRun(ctx, req, now, ask)
	case ask.toPrevious:
		done, err = b.undo(ctx, now, grace)
	case now.role.Type == typeManaged:
		done, err = b.rotateManaged(ctx, now, grace)
	default:
		done, err = b.rotateStatic(ctx, now, ask)
	}
	if err != nil {
		return nil, err
	}
	if done.cred != now.cred {
		b.announce(ctx, now.name, req.Operation, done)
	}
	return done.answer(b.now()), nil
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
