// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"

	"vault-plugin-secrets-modal/internal/model"
)

// Accept verifies a supplied token, unless the operator wrote verify=false. A token that returns from the revocation
// queue, with the secret that Modal accepted, stays verified.
func (o *Owners) Accept(ctx context.Context, cfg *model.Config, t model.Token, verify bool) (model.Token, error) {
	if err := o.Recall(ctx, &t); err != nil {
		return model.Token{}, err
	}
	if !verify {
		return t, nil
	}
	verified, err := o.mount.Verify(ctx, cfg, t)
	if err != nil {
		return model.Token{}, model.VerificationError(t, err)
	}
	return verified, nil
}

// AcceptWithin is Accept for a token that must belong to the workspace that config pins.
func (o *Owners) AcceptWithin(ctx context.Context, cfg *model.Config, t model.Token, verify bool) (model.Token, error) {
	accepted, err := o.Accept(ctx, cfg, t, verify)
	if err != nil {
		return model.Token{}, err
	}
	return accepted, o.workspaces.CheckPinned(ctx, cfg, accepted)
}
