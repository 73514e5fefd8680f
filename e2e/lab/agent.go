// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Agent is a running Vault Agent that renders a role's token to File.
type Agent struct {
	// Config is the text of the Agent's configuration. File is the rendered file, Log the Agent's log.
	Config, File, Log string
}

// agentConfig gives the rendered file a folder of its own: Agent replaces the file, and a mount of the file
// alone would not see the replacement. Without error_on_missing_key a missing field would be rendered as "<no
// value>".
const agentConfig = `vault {
  address = %[1]q
}
auto_auth {
  method "token_file" {
    config = {
      token_file_path = %[2]q
    }
  }
}
template_config {
  exit_on_retry_failure = true
}
template {
  contents             = "{{ with secret \"%[3]s\" }}{{ .Data.toml }}{{ end }}"
  destination          = %[4]q
  perms                = "0600"
  error_on_missing_key = true
}
`

// StartAgent starts a Vault Agent that logs in with the given Vault token and renders the field toml of the
// given path (modal/creds/<role>/toml) to a .modal.toml. It returns when the file exists.
func (l *Lab) StartAgent(ctx context.Context, v *Vault, token, path string) (*Agent, error) {
	folder := l.path("agent")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of Vault Agent: %w", err)
	}
	a := &Agent{File: filepath.Join(folder, ".modal.toml"), Log: l.path("agent.log")}
	tokenFile, configFile := l.path("agent-token"), l.path("agent.hcl")
	a.Config = fmt.Sprintf(agentConfig, v.Addr, tokenFile, path, a.File)
	for file, text := range map[string]string{tokenFile: token, configFile: a.Config} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("writing Vault Agent's files: %w", err)
		}
	}
	process, err := l.start(ctx, "agent", l.env(), l.tools.Vault, "agent", "-log-level=trace", "-config="+configFile)
	if err != nil {
		return nil, err
	}
	return a, process.ready(ctx, func() error {
		_, err := os.Stat(a.File)
		return err
	})
}
