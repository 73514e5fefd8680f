// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// handout is what creds gives out of one role: its policy, its current token, and the server to tell
// clients of ("" when it is their default).
type handout struct {
	name      string
	role      *role
	cred      *credential
	serverURL string
}

type variable struct{ name, value string }

// variables are the environment that Modal's clients read, and nothing else: tools export every key.
func (h *handout) variables() []variable {
	vars := []variable{{"MODAL_TOKEN_ID", h.cred.ID}, {"MODAL_TOKEN_SECRET", h.cred.Secret}}
	if h.role.environment() != "" {
		vars = append(vars, variable{"MODAL_ENVIRONMENT", h.role.environment()})
	}
	if h.serverURL != "" {
		vars = append(vars, variable{"MODAL_SERVER_URL", h.serverURL})
	}
	return vars
}

// env is the dotenv text. No value needs quoting, as each is checked where it enters, so it reads the
// same in sh, docker --env-file and systemd.
func (h *handout) env() string {
	var text strings.Builder
	for _, v := range h.variables() {
		text.WriteString(v.name + "=" + v.value + "\n")
	}
	return text.String()
}

// profileTable is a profile of .modal.toml with the keys that all three Modal clients know.
type profileTable struct {
	Active      bool   `toml:"active,omitempty"`
	TokenID     string `toml:"token_id"`
	TokenSecret string `toml:"token_secret"`
	Environment string `toml:"environment,omitempty"`
	ServerURL   string `toml:"server_url,omitempty"`
}

// toml is one profile. A whole .modal.toml has an active one: the Go and JavaScript clients use no
// other without MODAL_PROFILE.
func (h *handout) toml(active bool) (string, error) {
	text, err := toml.Marshal(map[string]profileTable{h.role.profile(h.name): {
		Active: active, TokenID: h.cred.ID, TokenSecret: h.cred.Secret,
		Environment: h.role.environment(), ServerURL: h.serverURL,
	}})
	if err != nil {
		return "", fmt.Errorf("format the token of role %s as TOML: %w", h.name, err)
	}
	return string(text), nil
}
