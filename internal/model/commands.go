// SPDX-License-Identifier: MPL-2.0

package model

import (
	"slices"
	"strings"
)

// Commands spells the commands of Vault's command line that messages recommend.
type Commands struct {
	MountPath string // with a slash at its end, and the namespace before it
}

// Read spells a read. Paths begin behind the mount's path, and fields are name=value.
func (c Commands) Read(path string) string { return c.spell("read", path, nil) }

// List spells a list of keys.
func (c Commands) List(path string) string { return c.spell("list", path, nil) }

// ListDetailed spells a list with details of each key.
func (c Commands) ListDetailed(path string) string { return c.spell("list -detailed", path, nil) }

// Write spells a write. Without fields it takes -f.
func (c Commands) Write(path string, fields ...string) string {
	if len(fields) == 0 {
		return c.spell("write -f", path, nil)
	}
	return c.spell("write", path, fields)
}

// Delete spells a delete.
func (c Commands) Delete(path string, fields ...string) string {
	return c.spell("delete", path, fields)
}

// RevokeLeases spells the command that revokes all leases of a dynamic role. Leases have the path that the mount
// has within its namespace, and the engine does not know where that begins. With the namespace's path before it the
// command would report success and revoke nothing.
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

// Prefix is the mount's path. If the path has several segments, it may begin with a namespace's path. An empty
// -namespace then makes the command work wherever it is pasted: the namespace of VAULT_NAMESPACE, or BAO_NAMESPACE,
// would stand before the path a second time.
func (c Commands) Prefix() string {
	if c.severalSegments() {
		return "-namespace='' " + c.MountPath
	}
	return c.MountPath
}

func (c Commands) severalSegments() bool { return strings.Count(c.MountPath, "/") > 1 }
