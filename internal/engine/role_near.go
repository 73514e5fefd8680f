// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/suggest"
)

// NoSuchRole says that no role has a name. It names the role that was probably meant, or else the list and the
// text in otherwise. A reader who may not list learns one name, and could learn as much by reading that name.
func (e *Engine) NoSuchRole(ctx context.Context, name, otherwise string) string {
	names, err := e.roles.List(ctx)
	if err != nil {
		names = nil // the answer is the same without a suggestion
	}
	if meant := suggest.Nearest(name, names, max(1, min(2, len(name)/3))); meant != "" {
		return fmt.Sprintf("no role is named %s: did you mean %s?", name, meant)
	}
	return fmt.Sprintf("no role is named %s: %s names every role%s", name, e.Commands().List("roles"), otherwise)
}
