// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// NextStep tells an operator what to do about a revocation. The text begins with the action, or with "nothing to do".
func (rv *Revoker) NextStep(ctx context.Context, r *model.Revocation) string {
	run := rv.mount.Commands()
	atOnce := "; to revoke the token now: " + run.ForceRevocation(r.Key())
	early := rv.mount.Now().Before(r.NotBefore)
	switch {
	case r.IsRunningLease(rv.mount.Now()):
		return rv.mount.NoteDelay(ctx, fmt.Sprintf("nothing to do: the token ends with its lease, or on %s at the latest", r.NotBefore.Format(time.RFC3339))) + atOnce
	case r.RefusedReason != "":
		return fmt.Sprintf("%s, because the engine could not do that (Modal said: %s); then let the engine check: %s", r.DeletionInstructions(), r.RefusedReason, run.TryRevocation(r.Key()))
	case !r.CanDelete() && early:
		return fmt.Sprintf("%s, but not before the grace period ends at %s; then let the engine check: %s", r.DeletionInstructions(), r.NotBefore.Format(time.RFC3339), run.TryRevocation(r.Key()))
	case !r.CanDelete():
		return fmt.Sprintf("%s; then let the engine check: %s", r.DeletionInstructions(), run.TryRevocation(r.Key()))
	case r.IsInUse():
		return rv.mount.NoteDelay(ctx, fmt.Sprintf("nothing to do: the token was last used at %s; the engine keeps it while somebody uses it, until %s at the latest",
			r.LastUsed.Format(time.RFC3339), r.HoldUntil.Format(time.RFC3339))) + atOnce
	case early && r.NotYetCurrent():
		return rv.mount.NoteDelay(ctx, fmt.Sprintf("nothing to do: if the token is not in use by %s, the engine will then %s", r.NotBefore.Format(time.RFC3339), r.DeletionText())) + atOnce
	case early:
		return rv.mount.NoteDelay(ctx, fmt.Sprintf("nothing to do: the engine will %s after %s", r.DeletionText(), r.NotBefore.Format(time.RFC3339))) + atOnce
	case r.LastError != "":
		return rv.mount.NoteDelay(ctx, fmt.Sprintf("nothing to do: the engine keeps trying to %s; last_error says why the last attempt failed", r.DeletionText())) + "; to try now: " + run.TryRevocation(r.Key())
	}
	return rv.mount.NoteDelay(ctx, "nothing to do: the engine will "+r.DeletionText())
}
