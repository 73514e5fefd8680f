// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Plan is what a rotation would do, in order, and what would fail.
type Plan struct {
	Steps, Problems []string
}

// PlanRotation runs the checks of a rotation and tells all that would fail, without a write here or at Modal.
func (e *Engine) PlanRotation(ctx context.Context, ask RotateRequest) (*Plan, error) {
	now, unlock, err := e.rotatable(ctx, ask)
	if err != nil {
		return nil, err
	}
	defer unlock()
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	var plan []string
	var problems []error
	switch {
	case ask.ToPrevious:
		plan, problems = e.planUndo(ctx, cfg, now)
	case now.Role.Type == TypeManaged:
		plan, problems = e.planManaged(ctx, cfg, now)
	default:
		plan, problems = e.planStatic(ctx, now, ask)
	}
	if plan == nil {
		plan = []string{"nothing, until the problems are solved"}
	} else if !now.empty() && (ask.Pair == nil || ask.Pair.ID != now.Cred.ID) {
		plan = append(plan, fmt.Sprintf("put token %s (version %d) into the ledger, to be revoked from %s on (%s)",
			now.Cred.ID, now.Cred.Version, e.Now().Add(ask.graceOr(now.Role.GracePeriod)).Format(time.RFC3339), newRevocation(now.Name, now.Role, now.Cred, reasonRotated, e.Now(), 0).Method))
	}
	if err = e.refuseCrowd(ctx, now, ask); err != nil {
		problems = append(problems, err)
	}
	var texts []string
	for _, problem := range problems {
		texts = append(texts, strings.ReplaceAll(problem.Error(), nothingChanged, "")) // a dry run changes nothing anyway
	}
	return &Plan{Steps: plan, Problems: texts}, nil
}

func (e *Engine) planStatic(ctx context.Context, now *Rotation, ask RotateRequest) (plan []string, problems []error) {
	pair, err := ask.broughtTo(now, e.mount())
	if err != nil {
		return nil, []error{err}
	}
	switch {
	case pair == now.Cred.pair():
		return []string{fmt.Sprintf("nothing: token %s is the role's current one already", pair.ID)}, nil
	case pair.ID == now.Cred.ID:
		_, err = e.proveSame(ctx, now, pair, ask.Verify)
	default:
		_, err = e.successor(ctx, now, pair, ask)
	}
	if err != nil {
		problems = append(problems, err)
	}
	return []string{fmt.Sprintf("make token %s current as version %d", pair.ID, now.Cred.Version+1)}, problems
}

func (e *Engine) planUndo(ctx context.Context, cfg *Config, now *Rotation) (plan []string, problems []error) {
	entry, err := e.previous(ctx, now)
	if err != nil {
		return nil, []error{err}
	}
	if _, err = e.proveUndo(ctx, cfg, now, entry); err != nil {
		problems = append(problems, err)
	}
	return []string{fmt.Sprintf("make token %s current again, as version %d", entry.ID, now.Cred.Version+1)}, problems
}

func (e *Engine) planManaged(ctx context.Context, cfg *Config, now *Rotation) (plan []string, problems []error) {
	policy := now.Role.Managed
	plan = []string{
		fmt.Sprintf("make a service user named like %s (scoped=%t)", e.serviceUserName(now.Name), policy.Scoped),
		"give it " + rolesText(policy.EnvironmentRoles),
		fmt.Sprintf("see Modal accept its token, and make it current as version %d", now.Cred.Version+1),
	}
	if err := cfg.permits(now.Role); err != nil {
		problems = append(problems, err)
	}
	if err := e.reaches(cfg, now.Cred.Token); err != nil {
		problems = append(problems, err)
	}
	a, err := e.admin(cfg)
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
