// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// maxToldBroken is how many roles or tokens a warning names.
const maxToldBroken = 10

// manages says whether the engine can make and end service users beside this token.
func (c *Config) manages(t Token) bool {
	return c.Admin != nil && c.Admin.Verified() && c.Limitation == "" && c.reaches(t) == nil
}

// cannotAsk says that the token's own server is only reached with a CA that config no longer has.
func (c *Config) cannotAsk(before *Config, t Token) bool {
	return before.CACert != "" && before.serves(t) && !c.serves(t)
}

// narrows says whether a write changes what managed roles and the ledger need of config.
func (c *Config) narrows(before *Config) bool {
	return !c.like(before) || c.adminID() != before.adminID() || c.Limitation != before.Limitation ||
		c.MaxEnvironmentRole != before.MaxEnvironmentRole || !slices.Equal(c.AllowedEnvironments, before.AllowedEnvironments)
}

// broken names the roles and tokens that could go on under the config before, and cannot any more.
func (e *Engine) broken(ctx context.Context, before, after *Config) []string {
	if !after.narrows(before) {
		return nil
	}
	rotations, _, err := e.Rotations(ctx)
	if err != nil {
		return []string{fmt.Sprintf("the roles cannot be read, to say which of them this breaks: %s", err)}
	}
	entries, _, err := e.Ledger(ctx)
	if err != nil {
		return []string{fmt.Sprintf("the ledger cannot be read, to say which of its tokens this breaks: %s", err)}
	}
	var beyond, away, stuck []string
	for _, r := range rotations {
		if r.Role.access() == nil {
			continue
		}
		if before.permits(r.Role) == nil && after.permits(r.Role) != nil {
			beyond = append(beyond, r.Name)
		}
		if r.Role.Managed != nil && before.manages(r.Cred.Token) && !after.manages(r.Cred.Token) {
			away = append(away, r.Name)
		}
	}
	for _, entry := range entries {
		if (entry.serviceUser() != "" && entry.ours() && before.manages(entry.Token) && !after.manages(entry.Token)) || after.cannotAsk(before, entry.Token) {
			stuck = append(stuck, entry.Key())
		}
	}
	return e.tellBroken(after, beyond, away, stuck)
}

func (e *Engine) tellBroken(after *Config, beyond, away, stuck []string) (warnings []string) {
	if len(beyond) > 0 {
		warnings = append(warnings, fmt.Sprintf("roles that ask for more than config now allows (%s), so that they keep their tokens and can no longer rotate: %s; "+
			"narrow each with: vault write %sroles/<role> environment_roles=…", after.ceilings(), bounded(beyond), e.mount()))
	}
	mend := e.writeAdmin() + ", with an admin token of their workspace and server"
	if len(away) > 0 {
		warnings = append(warnings, fmt.Sprintf("roles that keep their tokens and can no longer rotate, as the admin token in config cannot manage them (%s): %s; mend it with: %s",
			after.adminState(), bounded(away), mend))
	}
	if len(stuck) > 0 {
		warnings = append(warnings, fmt.Sprintf("tokens in the ledger that the engine can no longer end, or see refused: %s; mend it with: %s", bounded(stuck), mend))
	}
	return warnings
}

// adminState is what is wrong with the admin token, for a reader.
func (c *Config) adminState() string {
	switch {
	case c.Admin == nil:
		return "there is none"
	case !c.Admin.Verified():
		return "it was stored unproven"
	case c.Limitation != "":
		return c.Limitation
	}
	return "it is of another workspace or server"
}

// bounded is a list of names that is not too long to read.
func bounded(names []string) string {
	if more := len(names) - maxToldBroken; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxToldBroken], ", "), more)
	}
	return strings.Join(names, ", ")
}
