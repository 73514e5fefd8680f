// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"reflect"

	"vault-plugin-secrets-modal/internal/model"
)

// writeDynamic stores the policy, and then narrows the living leases to it. A read that creates a lease meanwhile
// stores the lease and then reads the policy: the write or the read sees the other one (lease.go: stillAllowed).
func (rs *Roles) writeDynamic(ctx context.Context, before, after *model.Role, ask model.RoleWrite) (warnings []string, err error) {
	cfg, err := rs.checkPermitted(ctx, after)
	if err != nil {
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

// afterDynamic is the next step after a write of a dynamic role.
func (rs *Roles) afterDynamic(name string) string {
	return fmt.Sprintf("get a token with a lease of its own: vault read %screds/%s", rs.mount.CommandPrefix(), name)
}
