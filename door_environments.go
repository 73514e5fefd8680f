// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// maxEnvironments bounds what config and roles name.
const maxEnvironments = 100

// environmentName is Modal's own rule for existing environments (Go SDK v0.11.1, name_utils.go).
var environmentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

func parseEnvironment(text string) (name, mistake string) {
	if environmentName.MatchString(text) && !strings.HasPrefix(text, "en-") {
		return text, ""
	}
	return "", `Modal's names are up to 64 letters, digits, "_", "." and "-", begin with a letter or digit and not with "en-"`
}

func parseEnvironmentRole(text string) (role modalapi.EnvironmentRole, mistake string) {
	switch role = modalapi.EnvironmentRole(text); role {
	case modalapi.RoleViewer, modalapi.RoleContributor:
		return role, ""
	default:
		return "", "use viewer or contributor"
	}
}

// parseEnvironments reads a list of names, or one text with commas.
func parseEnvironments(raw any) (names []string, mistake string) {
	items, isList := listOf(raw)
	if !isList {
		return nil, "write names with commas between them, or a list of names"
	}
	if len(items) > maxEnvironments {
		return nil, fmt.Sprintf("name at most %d environments", maxEnvironments)
	}
	for _, item := range items {
		name, mistake := parseEnvironment(item)
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

// parseEnvironmentRoles reads an object, a list of pairs, or one text with commas.
func parseEnvironmentRoles(raw any) (roles map[string]modalapi.EnvironmentRole, mistake string) {
	pairs, mistake := rolePairs(raw)
	switch {
	case mistake != "":
		return nil, mistake
	case len(pairs) > maxEnvironments:
		return nil, fmt.Sprintf("name at most %d environments", maxEnvironments)
	}
	roles = make(map[string]modalapi.EnvironmentRole, len(pairs))
	for _, pair := range pairs {
		name, mistake := parseEnvironment(pair[0])
		if mistake != "" {
			return nil, mistake
		}
		can, mistake := parseEnvironmentRole(pair[1])
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

// rolePairs are environments and roles, each once for each time that it was written.
func rolePairs(raw any) (pairs [][2]string, mistake string) {
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
	items, isList := listOf(raw)
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

// listOf are the items of a list, or of one text with commas between them. No item goes missing: an
// empty one may be an unset variable.
func listOf(raw any) (items []string, isList bool) {
	switch raw := raw.(type) {
	case string:
		items = strings.Split(raw, ",")
	case []string:
		items = slices.Clone(raw)
	case []any:
		for _, item := range raw {
			text, isText := item.(string)
			if !isText {
				return nil, false
			}
			items = append(items, text)
		}
	default:
		return nil, false
	}
	for i, item := range items {
		items[i] = strings.TrimSpace(item)
	}
	return items, true
}
