// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"vault-plugin-secrets-modal/internal/suggest"
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
			in.wrong = append(in.wrong, secretAsField)
		case field == "format" && len(known) == 0 && roleName.MatchString(in.name):
			in.wrong = append(in.wrong, fmt.Sprintf("unknown field %q: each form is a path of its own: read creds/%s/%s", field, in.name, formOr(in.body[field], "env, /dotenv, /toml or /profile")))
			return
		case len(meant) > 0:
			in.wrong = append(in.wrong, fmt.Sprintf("unknown field %q: did you mean %s?", told(field), quoted(meant)))
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

func quoted(names []string) string {
	texts := make([]string, 0, len(names))
	for _, name := range names {
		texts = append(texts, strconv.Quote(name))
	}
	return strings.Join(texts, " or ")
}

// nearest returns the known words that somebody may have meant: a word that is written almost alike, or else the
// words that contain this word or that this word contains.
func nearest(field string, known []string) []string {
	if len(field) > maxToldName {
		return nil
	}
	field = strings.ToLower(strings.ReplaceAll(field, "-", "_"))
	if meant := suggest.Nearest(field, known, min(len(field)/4, 3)); meant != "" {
		return []string{meant}
	}
	if at := slices.IndexFunc(known, func(name string) bool { return transposed(field, name) }); at >= 0 {
		return known[at : at+1]
	}
	var parts []string
	for _, name := range known {
		if (len(field) >= 3 && strings.Contains(name, field)) || (len(name) >= 4 && strings.Contains(field, name)) {
			parts = append(parts, name)
		}
	}
	return parts[:min(len(parts), 3)]
}

// transposed says whether two names differ in letters that changed places.
func transposed(a, b string) bool {
	return len(a) == len(b) && slices.Equal(slices.Sorted(slices.Values([]byte(a))), slices.Sorted(slices.Values([]byte(b))))
}
