// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"reflect"

	"vault-plugin-secrets-modal/internal/model"
)

// writeDynamic stores the role, and then narrows its running leases. A read that creates a lease meanwhile stores the
// lease and then reads the role. So either the write sees the lease, or the read sees the write (lease.go:
// checkStillAllowed).
func (rs *Roles) writeDynamic(ctx context.Context, before, after *model.Role, ask model.RoleWrite) (warnings []string, err error) {
	cfg, err := rs.checkPermitted(ctx, after)
	if err != nil {
		return nil, err
	}
	if err = rs.checkNameTemplate(ask.Name, after.Dynamic); err != nil {
		return nil, err
	}
	if before == nil {
		return nil, rs.establishEmpty(ctx, ask.Name, after)
	}
	if !reflect.DeepEqual(before, after) {
		if err = rs.mount.Roles.Put(ctx, ask.Name, after); err != nil {
			return nil, err
		}
	}
	if len(ask.Access.Given) == 0 {
		return nil, nil
	}
	return rs.leases.Narrow(ctx, cfg, ask.Name, after.Access()), nil
}

// afterDynamic tells an operator what to do after a write of a dynamic role.
func (rs *Roles) afterDynamic(name string) string {
	return "get a token with its own lease: " + rs.mount.Commands().ReadToken(name)
}
