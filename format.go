// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"

	"vault-plugin-secrets-modal/internal/engine"
)

type variable struct{ name, value string }

// variables are the environment that Modal's clients read, and nothing else: tools export every key.
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

// dotenv is the dotenv text. No value needs quoting, as each is checked where it enters, so it reads the
// same in sh, docker --env-file and systemd.
func dotenv(h *engine.Credentials) string {
	var text strings.Builder
	for _, v := range variables(h) {
		text.WriteString(v.name + "=" + v.value + "\n")
	}
	return text.String()
}

// profileTable is a profile of .modal.toml with the keys that all three Modal clients know, in the order in
// which Modal's own command line writes them.
type profileTable struct {
	TokenID     string `toml:"token_id"`
	TokenSecret string `toml:"token_secret"`
	Environment string `toml:"environment,omitempty"`
	ServerURL   string `toml:"server_url,omitempty"`
	Active      bool   `toml:"active,omitempty"`
}

// tomlText is one profile. A whole .modal.toml has an active one: the Go and JavaScript clients use no
// other without MODAL_PROFILE. It looks as Modal's own command line writes it, every text in double quotes,
// since people cut such files with shell tools.
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
