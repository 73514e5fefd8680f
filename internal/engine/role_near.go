// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"

	"github.com/agnivade/levenshtein"
)

// NearestRole is the role that somebody may have meant who wrote another name, "" when none is near. Only
// the nearest is told, as who asks may not be one who may list.
func (e *Engine) NearestRole(ctx context.Context, name string) string {
	names, err := e.roles.List(ctx)
	if err != nil {
		return "" // that there is no such role is the answer in any case
	}
	nearest, least := "", max(1, min(2, len(name)/3))+1
	for _, there := range names {
		if d := levenshtein.ComputeDistance(name, there); d < least {
			nearest, least = there, d
		}
	}
	return nearest
}
