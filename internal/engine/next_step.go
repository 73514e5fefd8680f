// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"fmt"
	"time"
)

// AfterConfig is what comes after a write of config.
func (e *Engine) AfterConfig(cfg *Config) string {
	const elsewise = "static roles work as it is"
	switch cfg.State(e.Now()) {
	case AdminOK:
		return fmt.Sprintf("make a role: vault write %sroles/ci type=managed environment_roles=main=contributor", e.mount())
	case AdminUnproven:
		return fmt.Sprintf("prove the admin token, which managed roles need: vault write %sconfig token_id=%s token_secret=-; %s", e.mount(), cfg.Admin.ID, elsewise)
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
func (e *Engine) AfterWrite(r *Rotation) string {
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
	return read + "; the engine rotates it at next_rotation"
}
