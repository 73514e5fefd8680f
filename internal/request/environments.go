// SPDX-License-Identifier: MPL-2.0

package request

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// maxEnvironments is how many environments a field may name.
const maxEnvironments = 100

// environmentName is Modal's rule for names of environments (Go SDK v0.11.1, name_utils.go).
var environmentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// ParseEnvironment reads the name of an environment.
func ParseEnvironment(text string) (name, mistake string) {
	if environmentName.MatchString(text) && !strings.HasPrefix(text, "en-") {
		return text, ""
	}
	return "", `Modal's names are up to 64 letters, digits, "_", "." and "-", begin with a letter or digit and not with "en-"`
}

// environmentRole matches the names of environment roles that a message repeats. Their words are shorter than a token
// secret. Assumed: Modal does not document which names a custom role may have.
var environmentRole = regexp.MustCompile(`^[A-Za-z0-9]{1,16}([ _.-][A-Za-z0-9]{1,16}){0,4}$`)

// ParseEnvironmentRole reads viewer or contributor. It refuses a custom role of Modal: the generated stubs do not tell
// which rights a custom role grants, so the engine could neither verify the role nor compare it with config's limits.
func ParseEnvironmentRole(text string) (role modalapi.EnvironmentRole, mistake string) {
	switch role = modalapi.EnvironmentRole(text); role {
	case modalapi.RoleViewer, modalapi.RoleContributor:
		return role, ""
	case modalapi.RoleNoAccess:
		return "", "leave an environment out to give no access there, and use viewer or contributor elsewhere"
	}
	named := "this role"
	if environmentRole.MatchString(text) {
		named = "the role " + strconv.Quote(text)
	}
	return "", named + " is not taken, because the engine cannot read back what a custom role of Modal grants: use viewer or contributor"
}

// ParseEnvironments reads a list of names, or one text with commas between names.
func ParseEnvironments(raw any) (names []string, mistake string) {
	items, isList := ParseList(raw)
	if !isList {
		return nil, "write names with commas between them, or a list of names"
	}
	if len(items) > maxEnvironments {
		return nil, fmt.Sprintf("name at most %d environments", maxEnvironments)
	}
	for _, item := range items {
		name, mistake := ParseEnvironment(item)
		if mistake != "" {
			return nil, mistake
		}
		if slices.Contains(names, name) {
			return nil, "an environment is named twice"
		}
		names = append(names, name)
	}
	return names, ""
}

// ParseEnvironmentRoles reads an object, a list of name=role, or one text with commas between name=role.
func ParseEnvironmentRoles(raw any) (roles map[string]modalapi.EnvironmentRole, mistake string) {
	pairs, mistake := roleItems(raw)
	switch {
	case mistake != "":
		return nil, mistake
	case len(pairs) > maxEnvironments:
		return nil, fmt.Sprintf("name at most %d environments", maxEnvironments)
	}
	roles = make(map[string]modalapi.EnvironmentRole, len(pairs))
	for _, pair := range pairs {
		name, mistake := ParseEnvironment(pair[0])
		if mistake != "" {
			return nil, mistake
		}
		can, mistake := ParseEnvironmentRole(pair[1])
		if mistake != "" {
			return nil, mistake
		}
		if _, twice := roles[name]; twice {
			return nil, "an environment is named twice"
		}
		roles[name] = can
	}
	return roles, ""
}

// roleItems returns the name and the role of each item. An environment that is written twice is in the result twice.
func roleItems(raw any) (pairs [][2]string, mistake string) {
	const wanted = `write main=viewer,staging=contributor, say, or a JSON object as {"main":"viewer"}`
	if object, isObject := raw.(map[string]any); isObject {
		for name, can := range object {
			text, isText := can.(string)
			if !isText {
				return nil, "write viewer or contributor for each environment"
			}
			pairs = append(pairs, [2]string{name, text})
		}
		return pairs, ""
	}
	items, isList := ParseList(raw)
	for _, item := range items {
		name, can, isPair := strings.Cut(item, "=")
		isList = isList && isPair
		pairs = append(pairs, [2]string{strings.TrimSpace(name), strings.TrimSpace(can)})
	}
	if !isList {
		return nil, wanted
	}
	return pairs, ""
}
