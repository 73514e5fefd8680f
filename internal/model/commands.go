// SPDX-License-Identifier: MPL-2.0

package model

import (
	"slices"
	"strings"
)

// Commands spells every Vault command that a message recommends. No other file spells a command: see
// TestCommands_AreSpelledInOneFile.
type Commands struct {
	MountPath string // with the namespace before it and a slash at its end
}

// WithoutGrace is a field of a rotation: the previous token is revoked at once.
const WithoutGrace = "grace_period=0"

const (
	bringToken = "token_id=… token_secret=-"
	force      = "force=true"
)

// Unpause ends the pause of the mount.
func (c Commands) Unpause() string { return c.write("config", "paused=false") }

// WriteAdmin stores a new admin token.
func (c Commands) WriteAdmin() string { return c.write("config", bringToken) }

// VerifyAdmin verifies the stored admin token.
func (c Commands) VerifyAdmin(id string) string {
	return c.write("config", "token_id="+id, "token_secret=-")
}

// RotateAdmin replaces the admin token.
func (c Commands) RotateAdmin(fields ...string) string {
	return c.write("config/rotate", append([]string{bringToken}, fields...)...)
}

// PinWorkspace pins the workspace of every token.
func (c Commands) PinWorkspace(workspace string) string {
	return c.write("config", "pinned_workspace="+workspace)
}

// ListRoles lists the names of all roles.
func (c Commands) ListRoles() string { return c.spell("list", "roles") }

// CreateManaged creates a managed role.
func (c Commands) CreateManaged(name string) string {
	return c.write("roles/"+name, "type="+TypeManaged, "environment_roles=main=contributor")
}

// CreateStatic creates a static role with its first token.
func (c Commands) CreateStatic(name string) string {
	return c.write("roles/"+name, "type="+TypeStatic, bringToken)
}

// CreateEmpty creates a static role without a token.
func (c Commands) CreateEmpty(name string) string {
	return c.write("roles/"+name, "type="+TypeStatic)
}

// Narrow gives a role fewer rights.
func (c Commands) Narrow(role string) string { return c.write("roles/"+role, "environment_roles=…") }

// VerifyFirst verifies the stored token of a static role.
func (c Commands) VerifyFirst(role, id string) string {
	return c.write("roles/"+role, "token_id="+id, "token_secret=-")
}

// DeleteRole deletes a role and revokes its tokens at once.
func (c Commands) DeleteRole(name string) string { return c.spell("delete", "roles/"+name, force) }

// ReadToken reads the current token of a role.
func (c Commands) ReadToken(role string) string { return c.spell("read", "creds/"+role) }

// RevokeLeases revokes all leases of a dynamic role. A lease's path begins with the mount's path inside its namespace,
// and the engine does not know where the namespace's path ends. With the namespace's path in front, the command would
// report success and revoke nothing.
func (c Commands) RevokeLeases(role string, flags ...string) string {
	command := strings.Join(slices.Concat([]string{"vault lease revoke"}, flags, []string{"-prefix", c.MountPath + "creds/" + role}), " ")
	if c.severalSegments() {
		command += " (in a namespace without the namespace's path)"
	}
	return command
}

// Rotate creates the next token of a managed role.
func (c Commands) Rotate(role string, fields ...string) string {
	return c.write("rotate/"+role, fields...)
}

// BringToken replaces the token of a static role.
func (c Commands) BringToken(role string, fields ...string) string {
	return c.write("rotate/"+role, append([]string{bringToken}, fields...)...)
}

// ReplaceToken is Rotate for a managed role, and BringToken for a static role.
func (c Commands) ReplaceToken(r *Role, name string) string {
	if r.Managed != nil {
		return c.Rotate(name)
	}
	return c.BringToken(name)
}

// ReadRotation reads the state of a role's rotation.
func (c Commands) ReadRotation(role string) string { return c.spell("read", "rotate/"+role) }

// Approve begins a browser approval for a role, or for config if role is empty.
func (c Commands) Approve(role string, fields ...string) string {
	return c.write(approvalPath(role), fields...)
}

// ReadApproval reads the state of an approval of a role, or of config if role is empty.
func (c Commands) ReadApproval(role string) string { return c.spell("read", approvalPath(role)) }

// CancelApproval cancels an approval of a role, or of config if role is empty.
func (c Commands) CancelApproval(role string) string { return c.spell("delete", approvalPath(role)) }

func approvalPath(role string) string {
	if role == "" {
		return "config/approval"
	}
	return "rotate/" + role + "/approval"
}

// LookUp asks which role, lease or revocation a token belongs to.
func (c Commands) LookUp(tokenID string) string { return c.write("lookup", "token_id="+tokenID) }

// ListRevocations lists the revocation queue.
func (c Commands) ListRevocations() string { return c.spell("list -detailed", "revocations") }

// ReadRevocation reads a revocation.
func (c Commands) ReadRevocation(id string) string { return c.spell("read", "revocations/"+id) }

// TryRevocation revokes a token that is due.
func (c Commands) TryRevocation(id string) string { return c.write("revocations/" + id) }

// ForceRevocation revokes a token now.
func (c Commands) ForceRevocation(id string) string { return c.write("revocations/"+id, force) }

// ForgetRevocation removes a revocation without proof.
func (c Commands) ForgetRevocation(id string) string {
	return c.spell("delete", "revocations/"+id, force)
}

// ListOrphans lists the service users of this mount that Vault does not track.
func (c Commands) ListOrphans() string { return c.spell("list -detailed", "orphans") }

// DeleteOrphans deletes all orphans.
func (c Commands) DeleteOrphans() string { return c.write("orphans", "dry_run=false") }

// DeleteOrphan deletes the orphan of a name.
func (c Commands) DeleteOrphan(name string) string {
	return c.write("orphans", "names="+name, "dry_run=false")
}

// AcceptOrphans keeps all orphans.
func (c Commands) AcceptOrphans() string { return c.write("orphans", "accept=true") }

// write spells a write. Without fields, Vault's command line needs -f.
func (c Commands) write(path string, fields ...string) string {
	if len(fields) == 0 {
		return c.spell("write -f", path)
	}
	return c.spell("write", path, fields...)
}

// spell spells a command with fields of the form name=value. If the mount's path has several segments, it may begin
// with a namespace's path. Vault would then prepend the namespace of VAULT_NAMESPACE (or BAO_NAMESPACE) a second time,
// so an empty -namespace switches that off.
func (c Commands) spell(verb, path string, fields ...string) string {
	if c.severalSegments() {
		verb += " -namespace=''"
	}
	return strings.Join(append([]string{"vault", verb, c.MountPath + path}, fields...), " ")
}

func (c Commands) severalSegments() bool { return strings.Count(c.MountPath, "/") > 1 }
