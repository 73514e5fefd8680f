// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

var roleName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_.-]{0,62}[a-z0-9])?$`)

// roleNameMistake says what is wrong with a role's name, "" when nothing is.
func roleNameMistake(name string) string {
	switch {
	case strings.Contains(name, ".."):
		return fmt.Sprintf(`role name %q: write no ".." in it, as Vault's storage refuses that`, told(name))
	case roleName.MatchString(name):
		return ""
	}
	lower := strings.ToLower(name)
	if roleName.MatchString(lower) {
		return fmt.Sprintf("role name %q has upper-case letters: write %q, as one spelling is what policies can match", name, lower)
	}
	return fmt.Sprintf(`role name %q: use up to 64 lower-case letters, digits, "-", "_" and ".", and begin and end with a letter or digit`, told(name))
}

// told is a name that somebody sent, short enough to be repeated.
func told(name string) string {
	if len(name) <= maxToldName {
		return name
	}
	cut := maxToldName
	for !utf8.RuneStart(name[cut]) && cut > 0 {
		cut--
	}
	return name[:cut] + "…"
}

// refuseUnknown names fields that the path does not have, and those that were meant.
func (in *door) refuseUnknown(unknown []string) {
	if len(unknown) == 0 {
		return
	}
	known := slices.Sorted(maps.Keys(in.fields))
	known = slices.DeleteFunc(known, func(name string) bool { return name == fieldRole || name == fieldID })
	for _, field := range unknown[:min(len(unknown), maxTold)] {
		switch meant := nearest(field, known); {
		case holdsSecret(field):
			in.wrong = append(in.wrong, "the name of a field has the shape of a token secret: replace that token if others can read what was written")
		case meant != "":
			in.wrong = append(in.wrong, fmt.Sprintf("unknown field %q: did you mean %q?", told(field), meant))
		default:
			in.wrong = append(in.wrong, fmt.Sprintf("unknown field %q", told(field)))
		}
	}
	last := &in.wrong[len(in.wrong)-1]
	if len(known) == 0 {
		*last += ": this path takes none"
		return
	}
	*last = strings.TrimSuffix(*last, "?") + ": this path takes " + strings.Join(known, ", ")
}

// nearest is the known field that somebody may have meant, "" when none is near. Long names are not
// compared, as that takes long.
func nearest(field string, known []string) string {
	if len(field) > maxToldName || len(known) == 0 {
		return ""
	}
	meant := slices.MinFunc(known, func(a, b string) int {
		return levenshtein.ComputeDistance(field, a) - levenshtein.ComputeDistance(field, b)
	})
	if levenshtein.ComputeDistance(field, meant) <= max(1, len(field)/3) {
		return meant
	}
	inside := slices.IndexFunc(known, func(name string) bool { return len(field) >= 3 && strings.Contains(name, field) })
	if inside == -1 {
		return ""
	}
	return known[inside]
}
