// SPDX-License-Identifier: MPL-2.0

package model

import (
	"slices"
	"strings"
)

// Commands spells the Vault commands that messages recommend.
type Commands struct {
	MountPath string // with the namespace before it and a slash at its end
}

// Read spells a read. The path is relative to the mount.
func (c Commands) Read(path string) string { return c.spell("read", path, nil) }

// List spells a list of keys.
func (c Commands) List(path string) string { return c.spell("list", path, nil) }

// ListDetailed spells a list with details of each key.
func (c Commands) ListDetailed(path string) string { return c.spell("list -detailed", path, nil) }

// Write spells a write. Fields are written as name=value. A write without fields needs -f.
func (c Commands) Write(path string, fields ...string) string {
	if len(fields) == 0 {
		return c.spell("write -f", path, nil)
	}
	return c.spell("write", path, fields)
}

// Delete spells a delete. Fields are written as name=value.
func (c Commands) Delete(path string, fields ...string) string {
	return c.spell("delete", path, fields)
}

// RevokeLeases spells the command that revokes all leases of a dynamic role. A lease's path begins with the mount's
// path inside its namespace, and the engine does not know where the namespace's path ends. With the namespace's path
// in front, the command would report success and revoke nothing.
func (c Commands) RevokeLeases(role string, flags ...string) string {
	command := strings.Join(slices.Concat([]string{"vault lease revoke"}, flags, []string{"-prefix", c.MountPath + "creds/" + role}), " ")
	if c.severalSegments() {
		command += " (in a namespace without the namespace's path)"
	}
	return command
}

func (c Commands) spell(verb, path string, fields []string) string {
	return strings.Join(append([]string{"vault", verb, c.Prefix() + path}, fields...), " ")
}

// Prefix returns the text before a path in a command: the mount's path. If that path has several segments, it may
// begin with a namespace's path. Vault would then prepend the namespace of VAULT_NAMESPACE (or BAO_NAMESPACE) a
// second time, so an empty -namespace switches that off.
func (c Commands) Prefix() string {
	if c.severalSegments() {
		return "-namespace='' " + c.MountPath
	}
	return c.MountPath
}

func (c Commands) severalSegments() bool { return strings.Count(c.MountPath, "/") > 1 }
