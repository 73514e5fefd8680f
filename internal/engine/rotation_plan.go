// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// RotationPlan lists the steps of a rotation in order, and the problems that would make it fail.
type RotationPlan struct {
	Steps, Problems []string
}

// Plan runs the checks of a rotation and reports every problem. It writes nothing to storage or to Modal.
func (rt *Rotations) Plan(ctx context.Context, ask model.RotateRequest) (*RotationPlan, error) {
	rotation, unlock, err := rt.lockForRotation(ctx, ask)
	if err != nil {
		return nil, err
	}
	defer unlock()
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	var plan []string
	var problems []error
	switch {
	case ask.ToPrevious:
		plan, problems = rt.planUndo(ctx, cfg, rotation)
	case rotation.Role.Type == model.TypeManaged:
		plan, problems = rt.planManaged(ctx, cfg, rotation)
	default:
		plan, problems = rt.planStatic(ctx, rotation, ask)
	}
	if plan == nil {
		plan = []string{"nothing, until the problems are solved"}
	} else if !rotation.HasNoToken() && (ask.Token == nil || ask.Token.ID != rotation.Cred.ID) {
		old := model.NewRevocation(rotation.Name, rotation.Role, rotation.Cred, model.ReasonRotated, rt.mount.Now(), ask.GraceOr(rotation.Role.GracePeriod))
		step := fmt.Sprintf("put token %s (version %d) into the revocation queue, to be revoked after %s (%s)", old.ID, old.Version, old.NotBefore.Format(time.RFC3339), old.Method)
		if old.Method == model.MethodAutomatic {
			step = rt.mount.NotePausedIn(cfg, step)
		}
		plan = append(plan, step)
	}
	if err = rt.checkPreviousTokenLimit(ctx, rotation, ask); err != nil {
		problems = append(problems, err)
	}
	var texts []string
	for _, problem := range problems {
		texts = append(texts, strings.ReplaceAll(problem.Error(), model.NothingChanged, "")) // a dry run changes nothing anyway
	}
	return &RotationPlan{Steps: plan, Problems: texts}, nil
}

func (rt *Rotations) planStatic(ctx context.Context, rotation *model.Rotation, ask model.RotateRequest) (plan []string, problems []error) {
	brought, err := ask.TokenFor(rotation, rt.mount.Commands())
	if err != nil {
		return nil, []error{err}
	}
	switch {
	case brought == rotation.Cred.APIToken():
		return []string{fmt.Sprintf("nothing: token %s is already the role's current token", brought.ID)}, nil
	case brought.ID == rotation.Cred.ID:
		_, err = rt.verifySame(ctx, rotation, brought, ask.Verify)
	default:
		_, err = rt.acceptSuccessor(ctx, rotation, brought, ask)
	}
	if err != nil {
		problems = append(problems, err)
	}
	return []string{fmt.Sprintf("make token %s current as version %d", brought.ID, rotation.Cred.Version+1)}, problems
}

func (rt *Rotations) planUndo(ctx context.Context, cfg *model.Config, rotation *model.Rotation) (plan []string, problems []error) {
	entry, err := rt.previousToken(ctx, rotation)
	if err != nil {
		return nil, []error{err}
	}
	if entry.MayBeInUse(rt.mount.Now()) { // a call with the token would count as a use, so ask only about its service user
		err = rt.checkFitsPolicy(ctx, cfg, rotation.Name, rotation.Role, entry.Token)
	} else {
		_, err = rt.verifyUndo(ctx, cfg, rotation, entry)
	}
	if err != nil {
		problems = append(problems, err)
	}
	return []string{fmt.Sprintf("make token %s current again, as version %d", entry.ID, rotation.Cred.Version+1)}, problems
}

func (rt *Rotations) planManaged(ctx context.Context, cfg *model.Config, rotation *model.Rotation) (plan []string, problems []error) {
	policy := rotation.Role.Managed
	plan = []string{
		fmt.Sprintf("create a service user named like %s (scoped=%t)", rt.mount.ServiceUserName(rotation.Name, rotation.Name), policy.Scoped),
		"give it the environment roles " + model.RolesText(policy.EnvironmentRoles),
		fmt.Sprintf("check that Modal accepts its token, and make the token current as version %d", rotation.Cred.Version+1),
	}
	if err := cfg.CheckRole(rotation.Role); err != nil {
		problems = append(problems, err)
	}
	if err := rt.mount.CheckReach(cfg, rotation.Cred.Token); err != nil {
		problems = append(problems, err)
	}
	a, err := rt.mount.Admin(cfg)
	if err != nil {
		return plan, append(problems, err)
	}
	defer a.Release()
	if _, err = a.ServiceUsers(ctx, a.Token); err != nil {
		return plan, append(problems, a.Explain(err))
	}
	known, err := a.Environments(ctx, a.Token)
	if err != nil {
		return plan, append(problems, a.Explain(err))
	}
	ids := environmentIDs(known)
	for _, environment := range slices.Sorted(maps.Keys(policy.EnvironmentRoles)) {
		if ids[environment] == "" {
			problems = append(problems, unknownEnvironment(environment, known))
		}
	}
	return plan, problems
}
