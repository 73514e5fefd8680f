// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/engine"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
)

const prefixRotate = "rotate/"

func (b *Backend) pathRotate() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      prefixRotate + "?$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "rotations"},
			Fields:       pageFields(),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: local(parsePage, paged(b.listRotations), "List the roles by urgency of rotation.", listFields("Names of the roles, the most urgent first.")),
			},
			HelpSynopsis:    "List the roles by urgency of rotation.",
			HelpDescription: "All roles with state and next rotation. Roles whose token Modal rejects, roles whose rotation fails and overdue roles come first, then the other roles by their next rotation.\n\nExample, for the mount modal/:\n\n  vault list -detailed modal/rotate",
		},
		{
			Pattern:      prefixRotate + rolePattern + "$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "role-rotation"},
			Fields: with(tokenRequestFields(), map[string]*framework.FieldSchema{
				request.FieldRole:        roleNameField(),
				request.FieldGracePeriod: gracePeriodField("How long the previous token stays valid after this rotation (default: the role's; 0 ends it at once)."),
				fieldForce: {
					Type:         framework.TypeBool,
					Description:  "Static roles: accept a token of another workspace or owner than the current token.",
					DisplayAttrs: &framework.DisplayAttributes{Name: "Force"},
				},
				fieldToPrevious: {
					Type:         framework.TypeBool,
					Description:  "Go back to the previous token, within its grace period.",
					DisplayAttrs: &framework.DisplayAttributes{Name: "To previous"},
				},
				fieldDryRun: {
					Type:         framework.TypeBool,
					Description:  "Run all checks, report what the rotation would do and what would fail, and change nothing in Vault or at Modal.",
					DisplayAttrs: &framework.DisplayAttributes{Name: "Dry run"},
				},
			}),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: mayBeMissing(local(nameOf, b.readRotation, "Read the state of a role's rotation.", rotationFields()), noSuchRole),
				logical.UpdateOperation: forwarded(parseRotate, b.writeRotation, "Rotate a role's token now.",
					with(tokenFields(), rotatedFields(), plannedFields())),
			},
			HelpSynopsis:    "Rotate a role's token now, or read the state of its rotation.",
			HelpDescription: strings.TrimSpace(rotateHelp),
		},
	}
}

// rotateRequest is a rotation, or a dry run.
type rotateRequest struct {
	model.RotateRequest

	dryRun bool
}

func parseRotate(in *request.Decoder) rotateRequest {
	ask := rotateRequest{dryRun: in.Flag(fieldDryRun).Apply(false, false), RotateRequest: model.RotateRequest{
		Supplied:   in.Token(request.EmptyToken),
		Role:       in.Name,
		Force:      in.Flag(fieldForce).Apply(false, false),
		ToPrevious: in.Flag(fieldToPrevious).Apply(false, false),
		Grace:      in.GracePeriod(),
	}}
	if ask.Force {
		ask.Given = append(ask.Given, fieldForce)
	}
	if ask.ToPrevious && ask.Token != nil {
		in.Refuse(fieldToPrevious, "Vault has the previous token: leave token_id and token_secret out")
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
		fieldAttempts:          number("How many attempts have failed since the last rotation."),
		fieldLastAttempt:       text("When the engine tried last (RFC 3339)."),
		fieldNextAttempt:       text("When the engine tries next (RFC 3339)."),
		fieldLastError:         text("Result of the last attempt."),
		fieldLate:              number("Seconds that the rotation is late; absent if it is not late."),
		fieldPaused:            flag("true while the engine is paused, so that it does not rotate by itself; absent otherwise."),
		fieldPreviousTokens: {
			Type: framework.TypeStringSlice, Description: "IDs of the role's tokens in the revocation queue: read revocations/<id>.",
		},
	})
}

func rotatedFields() responses {
	return responses{
		fieldVersion:             number("Counter of the role's tokens, from 1."),
		fieldChanged:             flag("Whether the role has another token than before; false if the write brought the current token."),
		fieldLastVaultRotation:   text("When this token became current (RFC 3339)."),
		fieldNextRotation:        text("When the engine rotates the token (RFC 3339)."),
		fieldPreviousTokenID:     text("ID of the token that was current before."),
		request.FieldGracePeriod: number("Seconds that the previous token stays valid."),
		fieldNotBefore:           text("When the previous token's grace period ends and the engine begins to revoke it (RFC 3339)."),
		fieldMethod:              text(`How the previous token ends: "automatic", or "manual" when an operator has to delete it at Modal.`),
		fieldNextStep:            text("The next step for the previous token."),
	}
}

func plannedFields() responses {
	return responses{
		fieldDryRun:   flag("Whether nothing was done."),
		fieldPlan:     text("Dry run: the steps of the rotation, as one numbered text."),
		fieldProblems: text("Dry run: the checks that fail, as one numbered text; absent if all pass."),
	}
}

func (b *Backend) listRotations(ctx context.Context, _ page) (*logical.Response, error) {
	rotations, unreadable, err := b.engine.Mount.Rotations(ctx)
	if err != nil {
		return nil, err
	}
	rotations = slices.DeleteFunc(rotations, func(r *model.Rotation) bool { return r.Role.Dynamic != nil }) // each read has a token of its own
	model.SortByUrgency(rotations)
	return addUnreadable(rotationList(rotations, true), "roles", unreadable), nil
}

func (b *Backend) readRotation(ctx context.Context, req *logical.Request, name string) (*logical.Response, error) {
	r, previous, err := b.engine.Mount.RotationWithPrevious(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return notFound(req, b.engine.Mount.NoSuchRole(ctx, name, ""))
	case r.Role.Dynamic != nil:
		return nil, model.UserErrorf("role %s is dynamic: each read of %screds/%s creates a token, and %s shows these tokens", name, req.MountPoint, name, b.engine.Mount.Commands().ListRevocations())
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

func (b *Backend) writeRotation(ctx context.Context, _ *logical.Request, ask rotateRequest) (*logical.Response, error) {
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
	return rotationResultView(ctx, done, b.engine), nil
}

const rotateHelp = `
A write to a static role takes the new token_id and token_secret. Modal must accept the token, and the token must have
the same workspace and owner as the current token (force=true accepts another). The new token is current once the
write returns. The old token stays valid for the grace period, and is in the revocation queue until Modal rejects it.

A write to a managed role takes no token. The engine creates a new service user with the role's environment_roles,
waits until Modal accepts its token, and makes the token current. It deletes the old service user when the grace
period ends.

to_previous=true goes back to the previous token while its grace period lasts. dry_run=true runs all checks and changes
nothing.

A read returns version, token ID, dates, lateness, failed attempts and the previous tokens. No response shows a secret.

Example, for the mount modal/:

  vault write -f modal/rotate/ci
  vault write modal/rotate/personal token_id=ak-… token_secret=-
`

// rotationSummary returns a role's details for a list.
func rotationSummary(r *model.Rotation) map[string]any {
	data := map[string]any{fieldType: r.Role.Type, fieldState: r.State()}
	putCount(data, fieldVersion, int64(r.Cred.Version))
	putTime(data, fieldNextRotation, r.Next)
	putText(data, fieldLastError, brief(r.Cred.LastError))
	putText(data, fieldDescription, shorten(r.Role.Description, maxListedDescription))
	return data
}

// currentView returns the current token of a role, if the role has one.
func currentView(r *model.Rotation) map[string]any {
	data := map[string]any{}
	if r.Cred.Version > 0 {
		data = tokenView(r.Cred.Token)
	}
	data[fieldType] = r.Role.Type
	putCount(data, fieldVersion, int64(r.Cred.Version))
	return data
}

// rotationView returns the rotation state of a role without a secret.
func rotationView(r *model.Rotation) map[string]any {
	data := currentView(r)
	data[fieldState] = r.State()
	data[fieldRotationPeriod] = int64(r.Role.Period(r.Cred.LastRotation).Seconds())
	putCount(data, fieldLate, int64(r.Late.Seconds()))
	putTime(data, fieldLastVaultRotation, r.Cred.LastRotation)
	putTime(data, fieldNextRotation, r.Next)
	if r.Cred.Failing() {
		data[fieldAttempts] = int64(r.Cred.Attempts)
		putTime(data, fieldLastAttempt, r.Cred.LastAttempt)
		putTime(data, fieldNextAttempt, r.Cred.NextAttempt)
		putText(data, fieldLastError, r.Cred.LastError)
	}
	return data
}

// addUnreadable adds roles to a list whose stored data cannot be read, with the reason.
func addUnreadable(resp *logical.Response, what string, names []string) *logical.Response {
	if len(names) == 0 {
		return resp
	}
	keys, _ := resp.Data["keys"].([]string)
	resp.Data["keys"] = append(keys, names...)
	warnUnreadable(resp, what, names)
	return resp
}

func warnUnreadable(resp *logical.Response, what string, names []string) {
	if len(names) > 0 {
		resp.AddWarning(fmt.Sprintf("%d of the %s cannot be read, so the list has only their names: a read of %s and Vault's log give the reason",
			len(names), what, names[0]))
	}
}

// rotationList returns roles in the order of their urgency. Vault's CLI sorts its tables by name, so each role that
// needs attention also has its rank, from 1.
func rotationList(rotations []*model.Rotation, ranked bool) *logical.Response {
	names, info := make([]string, 0, len(rotations)), make(map[string]any, len(rotations))
	for i, r := range rotations {
		summary := rotationSummary(r)
		if ranked {
			summary[fieldUrgency] = int64(i + 1)
		}
		names = append(names, r.Name)
		info[r.Name] = summary
	}
	return logical.ListResponseWithInfo(names, info)
}

// writtenView returns a role after a write, and the next step.
func (b *Backend) writtenView(ctx context.Context, r *model.Rotation) map[string]any {
	data := currentView(r)
	data[fieldNextStep] = b.engine.Roles.NextStep(ctx, r)
	putTime(data, fieldNextRotation, r.Next)
	var times []string
	for _, at := range r.Role.Upcoming(b.engine.Mount.Now()) {
		times = append(times, at.Format(time.RFC3339))
	}
	if times != nil {
		data[fieldNextFirings] = times
	}
	return data
}

// rotationResultView returns the result of a rotation: IDs and times, no secret.
func rotationResultView(ctx context.Context, t *engine.RotationResult, e *engine.Engine) *logical.Response {
	data := tokenView(t.Cred.Token)
	data[fieldVersion] = int64(t.Cred.Version)
	data[fieldChanged] = t.Changed
	putTime(data, fieldLastVaultRotation, t.Cred.LastRotation)
	putTime(data, fieldNextRotation, t.Cred.NextRotation)
	if t.Previous != nil {
		data[fieldPreviousTokenID] = t.Previous.ID
		data[request.FieldGracePeriod] = int64(t.Grace.Seconds())
		data[fieldMethod] = t.Previous.Means()
		data[fieldNextStep] = e.Revoker.NextStep(ctx, t.Previous)
		putTime(data, fieldNotBefore, t.Previous.NotBefore)
	}
	return &logical.Response{Data: data, Warnings: t.Warnings}
}

// planView returns the plan of a dry run.
func planView(plan *engine.RotationPlan) *logical.Response {
	data := map[string]any{fieldDryRun: true, fieldPlan: numbered(plan.Steps)}
	putText(data, fieldProblems, numbered(plan.Problems))
	return &logical.Response{Data: data}
}
