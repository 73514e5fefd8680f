// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"

	"vault-plugin-secrets-modal/internal/engine"
)

type variable struct{ name, value string }

// variables returns the environment variables that Modal's clients read, and no others, because some tools export
// every key.
func variables(h *engine.Credentials) []variable {
	vars := []variable{{"MODAL_TOKEN_ID", h.Cred.ID}, {"MODAL_TOKEN_SECRET", h.Cred.Secret}}
	if h.Role.EffectiveEnvironment() != "" {
		vars = append(vars, variable{"MODAL_ENVIRONMENT", h.Role.EffectiveEnvironment()})
	}
	if h.ServerURL != "" {
		vars = append(vars, variable{"MODAL_SERVER_URL", h.ServerURL})
	}
	return vars
}

// dotenv returns the variables as text, one NAME=value per line. No value needs quotes, because each value was checked
// when it was written. So sh, docker --env-file and systemd read the same.
func dotenv(h *engine.Credentials) string {
	var text strings.Builder
	for _, v := range variables(h) {
		text.WriteString(v.name + "=" + v.value + "\n")
	}
	return text.String()
}

// profileTable is a profile of .modal.toml. It has the keys that all three Modal clients know, in the order in which
// Modal's command line writes them.
type profileTable struct {
	TokenID     string `toml:"token_id"`
	TokenSecret string `toml:"token_secret"`
	Environment string `toml:"environment,omitempty"`
	ServerURL   string `toml:"server_url,omitempty"`
	Active      bool   `toml:"active,omitempty"`
}

// tomlText returns one profile. A complete .modal.toml has an active profile, because without MODAL_PROFILE the Go and
// JavaScript clients use no other. The text has the style of Modal's command line, with every text in double quotes,
// because people cut such files with shell tools. The other TOML library in go.mod, which Modal's Go SDK needs, writes
// single quotes.
func tomlText(h *engine.Credentials, active bool) (string, error) {
	var text strings.Builder
	encoder := toml.NewEncoder(&text)
	encoder.Indent = ""
	if err := encoder.Encode(map[string]profileTable{h.Role.ProfileOr(h.Name): {
		TokenID: h.Cred.ID, TokenSecret: h.Cred.Secret,
		Environment: h.Role.EffectiveEnvironment(), ServerURL: h.ServerURL, Active: active,
	}}); err != nil {
		return "", fmt.Errorf("format the token of role %s as TOML: %w", h.Name, err)
	}
	return text.String(), nil
}
