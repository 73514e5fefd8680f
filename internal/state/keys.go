// SPDX-License-Identifier: MPL-2.0

package state

// Storage keys. SecretKeys lists those that are seal-wrapped.
const (
	KeyConfig         = "config"
	PrefixRoles       = "role/"
	PrefixCredentials = "cred/"
	PrefixRevocations = "revocation/"
	PrefixTokenOwners = "token/"
	PrefixApprovals   = "approval/"
	KeyOutOfSync      = "orphans"
	KeyWorkspace      = "workspace"
)

// SecretKeys returns the keys, and prefixes of keys, of entries that contain a token secret.
func SecretKeys() []string {
	return []string{KeyConfig, PrefixCredentials, PrefixRevocations, PrefixApprovals}
}
