// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// cleanUp deletes everything that this run created: the service users with its prefix, and the approved tokens. It
// uses Modal's list, so it also finds a service user whose answer was lost.
func (t *trial) cleanUp(ctx context.Context) error {
	var left []error
	for _, token := range t.approved {
		if err := t.client.DeleteToken(ctx, token, token.ID); err != nil && modalapi.KindOf(err) != modalapi.KindRefused {
			left = append(left, fmt.Errorf("the approved token %s still exists, delete it at Modal: %w", token, err))
		}
	}
	users, err := t.client.ServiceUsers(ctx, t.own)
	switch kind := modalapi.KindOf(err); {
	case kind == modalapi.KindForbidden, kind == modalapi.KindConflict, kind == modalapi.KindUnsupported:
		return errors.Join(left...) // a token that may not manage service users has created none
	case err != nil:
		return errors.Join(append(left, fmt.Errorf("service users named %s… may still exist, delete them at Modal: %w", t.prefix, err))...)
	}
	for _, user := range users {
		if !strings.HasPrefix(user.Name, t.prefix) {
			continue
		}
		if err = t.client.DeleteServiceUser(ctx, t.own, user.ID); err != nil && modalapi.KindOf(err) != modalapi.KindNotFound {
			left = append(left, fmt.Errorf("the service user %s still exists, delete it at Modal: %w", user.Name, err))
		}
	}
	if len(left) == 0 {
		t.say("Deleted everything that this run created.")
	}
	return errors.Join(left...)
}
