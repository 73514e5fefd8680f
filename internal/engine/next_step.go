// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// pasteable is a name that a shell takes as it is. Names come from Modal, and commands are pasted.
var pasteable = regexp.MustCompile(`^[A-Za-z0-9][\w-]*$`)

// AfterConfig is what comes after a write of config.
func (e *Engine) AfterConfig(cfg *Config) string { return e.WhilePaused(cfg, e.afterConfig(cfg)) }

func (e *Engine) afterConfig(cfg *Config) string {
	const elsewise = "static roles work as it is"
	switch cfg.State(e.Now()) {
	case AdminOK:
		return fmt.Sprintf("make a role: vault write %sroles/ci type=managed environment_roles=main=contributor", e.mount())
	case AdminUnverified:
		return fmt.Sprintf("verify the admin token, which managed roles need: vault write %sconfig token_id=%s token_secret=-; %s", e.mount(), cfg.Admin.ID, elsewise)
	case AdminNone:
		return fmt.Sprintf("%s: vault write %sroles/personal type=static token_id=… token_secret=-; managed roles need an admin token here", elsewise, e.mount())
	}
	return fmt.Sprintf("managed roles need another admin token, of an owner or manager: vault write %sconfig token_id=… token_secret=-; %s", e.mount(), elsewise)
}

// rotateCommand replaces a role's token.
func (e *Engine) rotateCommand(r *Role, name string) string {
	if r.Managed != nil {
		return fmt.Sprintf("vault write -f %srotate/%s", e.mount(), name)
	}
	return fmt.Sprintf("vault write %srotate/%s token_id=… token_secret=-", e.mount(), name)
}

// firstToken is how a static role gets its first token.
func (e *Engine) firstToken(name string) string {
	return fmt.Sprintf("approves one in a browser (vault write -f %srotate/%s/approval) or brings one (vault write %srotate/%s token_id=… token_secret=-)",
		e.mount(), name, e.mount(), name)
}

// AfterWrite is what comes after a write of a role.
func (e *Engine) AfterWrite(ctx context.Context, r *Rotation) string {
	read := fmt.Sprintf("read the token with: vault read %screds/%s", e.mount(), r.Name)
	switch {
	case r.Role.Dynamic != nil:
		return e.afterDynamic(r.Name)
	case r.empty():
		return "the role has no token yet: an operator " + e.firstToken(r.Name)
	case r.Role.Managed == nil:
		return fmt.Sprintf("%s; bring the next one by %s with: %s", read, r.Next.Format(time.RFC3339), e.rotateCommand(r.Role, r.Name))
	case r.Role.Managed.Disabled:
		return fmt.Sprintf("%s; rotate it by %s with: %s", read, r.Next.Format(time.RFC3339), e.rotateCommand(r.Role, r.Name))
	}
	return e.unlessPaused(ctx, read+"; the engine rotates it at next_rotation")
}

// NextStep tells an operator what to do about a revocation: it begins with what to do, or with "nothing to do".
func (e *Engine) NextStep(ctx context.Context, r *Revocation) string {
	run, path := e.Commands(), "revocations/"+r.Key()
	atOnce := "; to end the token at once: " + run.Write(path, "force=true")
	early := e.Now().Before(r.NotBefore)
	switch {
	case r.runs(e.Now()):
		return fmt.Sprintf("nothing to do: the token ends with its lease, or on %s at the latest", r.NotBefore.Format(time.RFC3339)) + atOnce
	case r.Declined != "":
		return fmt.Sprintf("%s; the engine could not do that (Modal said: %s); then have the engine look: %s", r.howToDelete(), r.Declined, run.Write(path))
	case !r.ours() && early:
		return fmt.Sprintf("%s; wait with that until %s, when the grace period ends; then have the engine look: %s", r.howToDelete(), r.NotBefore.Format(time.RFC3339), run.Write(path))
	case !r.ours():
		return fmt.Sprintf("%s; then have the engine look: %s", r.howToDelete(), run.Write(path))
	case r.isHeld():
		return fmt.Sprintf("nothing to do: the token was used at %s, so it lives on while somebody uses it, until %s at the latest",
			r.LastUsed.Format(time.RFC3339), r.HoldUntil.Format(time.RFC3339)) + atOnce
	case early && r.unclaimed():
		return e.promise(ctx, fmt.Sprintf("nothing to do: unless the token is in use by %s, the engine will %s then", r.NotBefore.Format(time.RFC3339), r.deletion())) + atOnce
	case early:
		return e.promise(ctx, fmt.Sprintf("nothing to do: the engine will %s after %s", r.deletion(), r.NotBefore.Format(time.RFC3339))) + atOnce
	case r.LastError != "":
		return e.promise(ctx, fmt.Sprintf("nothing to do: the engine goes on trying to %s, and last_error says why it failed", r.deletion())) + "; to try now: " + run.Write(path)
	}
	return e.promise(ctx, "nothing to do: the engine will "+r.deletion())
}

// unlessPaused is a text about what the engine will do by itself, and says so where the engine is paused.
func (e *Engine) unlessPaused(ctx context.Context, text string) string {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return text
	}
	return e.WhilePaused(cfg, text)
}

// promise is a text about what the engine will delete by itself, followed by the reason why it does not do that now.
func (e *Engine) promise(ctx context.Context, text string) string {
	if told := e.unlessPaused(ctx, text); told != text {
		return told
	}
	if outOfSync, failed := e.isOutOfSync(ctx); failed == nil && outOfSync {
		return text + "; the mount is out of sync, so the engine deletes nothing until an operator decides: " + e.Commands().ListDetailed("orphans")
	}
	return text
}

// deletion is what the engine does to end the token.
func (r *Revocation) deletion() string {
	if r.IdentityType == modalapi.IdentityServiceUser {
		return "delete " + r.quotedServiceUser()
	}
	return fmt.Sprintf("have token %s delete itself", r.ID)
}

// quotedServiceUser names the service user that owns the token, with its ID if that arrived.
func (t Token) quotedServiceUser() string {
	if t.IdentityID == "" {
		return fmt.Sprintf("service user %q", t.Identity)
	}
	return fmt.Sprintf("service user %q (%s)", t.Identity, t.IdentityID)
}

// howToDelete names the page and the command that make Modal reject the token.
func (t Token) howToDelete() string {
	if t.IdentityType != modalapi.IdentityServiceUser {
		where := tokensPage
		if t.Workspace != "" {
			where += fmt.Sprintf(" (workspace %q)", t.Workspace)
		}
		return fmt.Sprintf("delete token %s on %s or with: modal workspace member-tokens delete %s", t.ID, where, t.ID)
	}
	step := "delete " + t.quotedServiceUser()
	if t.ID != "" {
		step += fmt.Sprintf(", which owns token %s,", t.ID)
	}
	step += fmt.Sprintf(" in the settings of workspace %q at Modal", t.Workspace)
	if pasteable.MatchString(t.Identity) {
		step += " or with: modal workspace service-users delete " + t.Identity
	}
	return step
}
