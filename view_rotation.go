// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/engine"
	"vault-plugin-secrets-modal/internal/model"
)

// rotationSummary is a role in a list.
func rotationSummary(r *model.Rotation) map[string]any {
	data := map[string]any{fieldType: r.Role.Type, fieldState: r.State()}
	putCount(data, fieldVersion, int64(r.Cred.Version))
	putTime(data, fieldNextRotation, r.Next)
	putText(data, fieldLastError, brief(r.Cred.LastError))
	return data
}

// currentView is the role's current token, if it has one.
func currentView(r *model.Rotation) map[string]any {
	data := map[string]any{}
	if r.Cred.Version > 0 {
		data = tokenView(r.Cred.Token)
	}
	data[fieldType] = r.Role.Type
	putCount(data, fieldVersion, int64(r.Cred.Version))
	return data
}

// rotationView is how the role stands, without a secret.
func rotationView(r *model.Rotation) map[string]any {
	data := currentView(r)
	data[fieldState] = r.State()
	data[fieldRotationPeriod] = int64(r.Role.Period(r.Cred.LastRotation).Seconds())
	putCount(data, fieldLate, int64(r.Late.Seconds()))
	putTime(data, fieldLastVaultRotation, r.Cred.LastRotation)
	putTime(data, fieldNextRotation, r.Next)
	if r.Cred.Attempts > 0 {
		data[fieldAttempts] = int64(r.Cred.Attempts)
		putTime(data, fieldLastAttempt, r.Cred.LastAttempt)
		putTime(data, fieldNextAttempt, r.Cred.NextAttempt)
		putText(data, fieldLastError, r.Cred.LastError)
	}
	return data
}

// addUnreadable puts names into a list that is known nothing else of, and says why.
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
		resp.AddWarning(fmt.Sprintf("%d of the %s cannot be read, and the list has only their names: a read of %s says why, and Vault's log",
			len(names), what, names[0]))
	}
}

// rotationList keeps the order of the rotations. Vault's CLI sorts its tables by name, so the rank by
// urgency, from 1, is told as well where it counts.
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

// writtenView tells what a role is after a write, and what comes next.
func (b *backend) writtenView(ctx context.Context, r *model.Rotation) map[string]any {
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

// turnoverView tells of a rotation with IDs and times, never a secret.
func turnoverView(ctx context.Context, t *engine.RotationResult, e *engine.Engine) *logical.Response {
	data := tokenView(t.Cred.Token)
	data[fieldVersion] = int64(t.Cred.Version)
	data[fieldChanged] = t.Changed
	putTime(data, fieldLastVaultRotation, t.Cred.LastRotation)
	putTime(data, fieldNextRotation, t.Cred.NextRotation)
	if t.Previous != nil {
		data[fieldPreviousTokenID] = t.Previous.ID
		data[fieldGracePeriod] = int64(t.Grace.Seconds())
		data[fieldMethod] = t.Previous.Means()
		data[fieldNextStep] = e.Queue.NextStep(ctx, t.Previous)
		putTime(data, fieldNotBefore, t.Previous.NotBefore)
	}
	return &logical.Response{Data: data, Warnings: t.Warnings}
}

// planView tells of a dry run.
func planView(plan *engine.RotationPlan) *logical.Response {
	data := map[string]any{fieldDryRun: true, fieldPlan: numbered(plan.Steps)}
	putText(data, fieldProblems, numbered(plan.Problems))
	return &logical.Response{Data: data}
}
