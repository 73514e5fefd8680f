// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// rotateManaged replaces the role's service user by a new service user. If the caller gives up before Modal has accepted
// the new token, the worker deletes the new service user. After Modal has accepted the token, the engine finishes the
// rotation even without the caller. The caller holds the role's lock.
func (rt *Rotations) rotateManaged(ctx context.Context, rotation *model.Rotation, grace time.Duration) (*RotationResult, error) {
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	hint := fmt.Sprintf("the current token (version %d) stays: solve this problem, then: %s", rotation.Cred.Version, rt.mount.Commands().Rotate(rotation.Name))
	if err = rt.mount.CheckReach(cfg, rotation.Cred.Token); err != nil {
		return nil, fmt.Errorf("%w; %s", err, hint)
	}
	created, err := rt.minter.mint(ctx, cfg, mintRequestFor(rotation.Role, rotation.Name))
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, hint)
	}
	ctx = context.WithoutCancel(ctx)
	done, err := rt.replace(ctx, rotation, created.Token, model.ReasonRotated, grace)
	if err != nil {
		return nil, err
	}
	rt.owners.LeaveQueue(ctx, created.entry.Key())
	done.Warnings = slices.Concat(created.warnings, done.Warnings)
	return done, nil
}
