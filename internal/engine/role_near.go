// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/suggest"
)

// NoSuchRole says that there is no role of a name, and which role was probably meant, or otherwise what comes
// next. It tells one name alone: a reader who may not list learns no more than a read of that name tells.
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
