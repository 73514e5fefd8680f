// SPDX-License-Identifier: MPL-2.0

package request

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"vault-plugin-secrets-modal/internal/suggest"
)

var roleName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_.-]{0,62}[a-z0-9])?$`)

// checkRoleName returns what is wrong with the name of a role, "" for a valid name.
func checkRoleName(name string) string {
	switch {
	case strings.Contains(name, ".."):
		return fmt.Sprintf(`role name %q: leave out "..", because Vault's storage refuses it`, truncate(name))
	case roleName.MatchString(name):
		return ""
	}
	lower := strings.ToLower(name)
	if roleName.MatchString(lower) {
		return fmt.Sprintf("role name %q has upper-case letters: write %q, because policies distinguish upper and lower case", name, lower)
	}
	return fmt.Sprintf(`role name %q: use up to 64 lower-case letters, digits, "-", "_" and ".", and begin and end with a letter or digit`, truncate(name))
}

// truncate returns a name from a request, at most MaxNameLength bytes of it.
func truncate(name string) string {
	if len(name) <= MaxNameLength {
		return name
	}
	cut := MaxNameLength
	for !utf8.RuneStart(name[cut]) && cut > 0 {
		cut--
	}
	return name[:cut] + "…"
}

// refuseUnknownFields adds a mistake for each field that the path does not take, with a suggestion.
func (in *Decoder) refuseUnknownFields(unknown []string) {
	if len(unknown) == 0 {
		return
	}
	known := slices.Sorted(maps.Keys(in.fields))
	known = slices.DeleteFunc(known, func(name string) bool { return name == FieldRole || name == FieldID })
	for _, field := range unknown[:min(len(unknown), maxMistakes)] {
		switch question := suggest.DidYouMean(field, known, suggest.SpellingOrPart); {
		case HoldsSecret(field):
			in.mistakes = append(in.mistakes, secretAsField)
		case field == "format" && len(known) == 0 && roleName.MatchString(in.Name):
			in.mistakes = append(in.mistakes, fmt.Sprintf("unknown field %q: each form is a path of its own: read creds/%s/%s", field, in.Name, formOr(in.Body[field], "env, /dotenv, /toml or /profile")))
			return
		case question != "":
			in.mistakes = append(in.mistakes, fmt.Sprintf("unknown field %q: %s", truncate(field), question))
		default:
			in.mistakes = append(in.mistakes, fmt.Sprintf("unknown field %q", truncate(field)))
		}
	}
	last := &in.mistakes[len(in.mistakes)-1]
	if len(known) == 0 {
		*last += ": this path takes none"
		return
	}
	*last = strings.TrimSuffix(*last, "?") + ": this path takes " + strings.Join(known, ", ")
}

// formOr returns the form of a token that a request names, or else another text.
func formOr(raw any, otherwise string) string {
	if form, _ := raw.(string); slices.Contains([]string{"env", "dotenv", "toml", "profile"}, form) {
		return form
	}
	return otherwise
}
