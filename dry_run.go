// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

func plannedFields() responses {
	return responses{
		fieldDryRun:   flag("Whether nothing was done."),
		fieldPlan:     {Type: framework.TypeStringSlice, Description: "Dry run: what a rotation would do, in order."},
		fieldProblems: {Type: framework.TypeStringSlice, Description: "Dry run: what would fail; absent when nothing would."},
	}
}

// dryRun runs the checks of a rotation and tells all that would fail, without a write here or at Modal.
func (b *backend) dryRun(ctx context.Context, req *logical.Request, now *rotation, ask rotateRequest) (*logical.Response, error) {
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	var plan []string
	var problems []error
	switch {
	case ask.toPrevious:
		plan, problems = b.planUndo(ctx, cfg, now)
	case now.role.Type == typeManaged:
		plan, problems = b.planManaged(ctx, cfg, now)
	default:
		plan, problems = b.planStatic(ctx, now, ask)
	}
	if ask.pair == nil || ask.pair.ID != now.cred.ID {
		plan = append(plan, fmt.Sprintf("put token %s (version %d) into the ledger, to be revoked from %s on (%s)",
			now.cred.ID, now.cred.Version, b.now().Add(ask.graceOr(now.role.GracePeriod)).Format(time.RFC3339), newRevocation(now.name, now.role, now.cred, reasonRotated, b.now(), 0).Method))
	}
	data := map[string]any{fieldDryRun: true, fieldPlan: plan}
	var texts []string
	for _, problem := range problems {
		texts = append(texts, problem.Error())
	}
	if texts != nil {
		data[fieldProblems] = texts
	}
	return &logical.Response{Data: data}, nil
}

func (b *backend) planStatic(ctx context.Context, now *rotation, ask rotateRequest) (plan []string, problems []error) {
	pair, err := ask.broughtTo(now)
	if err != nil {
		return nil, []error{err}
	}
	switch {
	case pair == now.cred.pair():
		return []string{fmt.Sprintf("nothing: token %s is the role's current one already", pair.ID)}, nil
	case pair.ID == now.cred.ID:
		_, err = b.proveSame(ctx, now, pair, ask.verify)
	default:
		_, err = b.successor(ctx, now, pair, ask)
	}
	if err != nil {
		problems = append(problems, err)
	}
	return []string{fmt.Sprintf("make token %s current as version %d", pair.ID, now.cred.Version+1)}, problems
}

func (b *backend) planUndo(ctx context.Context, cfg *config, now *rotation) (plan []string, problems []error) {
	entry, err := b.previous(ctx, now)
	if err != nil {
		return nil, []error{err}
	}
	if _, err = b.proveUndo(ctx, cfg, now, entry); err != nil {
		problems = append(problems, err)
	}
	return []string{fmt.Sprintf("make token %s current again, as version %d", entry.ID, now.cred.Version+1)}, problems
}

func (b *backend) planManaged(ctx context.Context, cfg *config, now *rotation) (plan []string, problems []error) {
	policy := now.role.Managed
	plan = []string{
		fmt.Sprintf("make a service user named like %s (scoped=%t)", b.serviceUserName(now.name), policy.Scoped),
		"give it " + rolesText(policy.EnvironmentRoles),
		fmt.Sprintf("see Modal accept its token, and make it current as version %d", now.cred.Version+1),
	}
	if err := cfg.permits(now.role); err != nil {
		problems = append(problems, err)
	}
	if err := cfg.reaches(now.cred.Token); err != nil {
		problems = append(problems, err)
	}
	a, err := b.admin(cfg)
	if err != nil {
		return plan, append(problems, err)
	}
	defer a.release()
	if _, err = a.ServiceUsers(ctx, a.token); err != nil {
		return plan, append(problems, a.explain(err))
	}
	known, err := a.Environments(ctx, a.token)
	if err != nil {
		return plan, append(problems, a.explain(err))
	}
	ids := environmentIDs(known)
	for _, environment := range slices.Sorted(maps.Keys(policy.EnvironmentRoles)) {
		if ids[environment] == "" {
			problems = append(problems, unknownEnvironment(environment, known))
		}
	}
	return plan, problems
}
