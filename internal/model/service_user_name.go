// SPDX-License-Identifier: MPL-2.0

package model

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// maxServiceUserName is a safe length for a service user's name. Modal does not document its maximum.
const maxServiceUserName = 63

// MaxNameTemplate is the greatest length of a service_user_name_template, in bytes.
const MaxNameTemplate = 256

// DefaultNameTemplate is the template whose result is the role's name.
const DefaultNameTemplate = "{{.RoleName}}"

// notInNames matches what Modal does not accept in a service user's name: it accepts lower-case letters, digits, - and
// _.
var notInNames = regexp.MustCompile(`[^a-z0-9_-]+`)

// ServiceUserName returns the name of a service user: a mount's prefix, a text, and a random part. If the text is
// unusable, the role's name takes its place.
func ServiceUserName(prefix, text, role, random string) string {
	most := maxServiceUserName - len(prefix) - len("-") - len(random)
	label := NameLabel(text, most)
	if label == "" {
		label = NameLabel(role, most)
	}
	return prefix + label + "-" + random
}

// NameLabel returns a text as a part of a service user's name, with at most so many characters. It returns "" if the
// text has no letter or digit that Modal accepts, or holds a token secret.
func NameLabel(text string, most int) string {
	if modalapi.HoldsSecret(text) {
		return ""
	}
	label := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(text), "-"), "-_")
	if len(label) <= most {
		return label
	}
	const hashed = 8 // truncate_sha256 of Vault's templates replaces the end by this many characters of its hash
	kept := most - hashed
	sum := sha256.Sum256([]byte(label[kept:]))
	return label[:kept] + hex.EncodeToString(sum[:])[:hashed]
}
