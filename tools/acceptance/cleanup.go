// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// cleanUp deletes what this run made: what has its prefix, and the tokens that were approved for it. It
// goes by Modal's list, so that a service user whose answer was lost is found too.
func (t *trial) cleanUp(ctx context.Context) error {
	var left []error
	for _, token := range t.approved {
		if err := t.client.DeleteToken(ctx, token, token.ID); err != nil && modalapi.KindOf(err) != modalapi.KindRefused {
			left = append(left, fmt.Errorf("the approved token %s is left; delete it at Modal: %w", token, err))
		}
	}
	users, err := t.client.ServiceUsers(ctx, t.own)
	switch kind := modalapi.KindOf(err); {
	case kind == modalapi.KindForbidden, kind == modalapi.KindConflict, kind == modalapi.KindUnsupported:
		return errors.Join(left...) // It may manage none, and so made none.
	case err != nil:
		return errors.Join(append(left, fmt.Errorf("service users called %s… may be left; delete them at Modal: %w", t.prefix, err))...)
	}
	for _, user := range users {
		if !strings.HasPrefix(user.Name, t.prefix) {
			continue
		}
		if err = t.client.DeleteServiceUser(ctx, t.own, user.ID); err != nil && modalapi.KindOf(err) != modalapi.KindNotFound {
			left = append(left, fmt.Errorf("the service user %s is left; delete it at Modal: %w", user.Name, err))
		}
	}
	if len(left) == 0 {
		t.say("Deleted all that was made.")
	}
	return errors.Join(left...)
}
