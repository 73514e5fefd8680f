// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// Consumer is a Vault Agent together with the hook or program that it gives a role's token to. The hook runs
// when the Agent has written a .modal.toml. The program runs with the token in its environment. Both record
// each token that they get.
type Consumer struct {
	// Name also appears in Vault's audit log, with "token-" before it.
	Name string
	// File is the .modal.toml. A program has none.
	File string
	// Log is the Agent's log.
	Log string

	path, seen string
	process    *process
}

const consumerHead = `vault { address = %[1]q }
auto_auth { method "token_file" { config = { token_file_path = %[2]q } } }
template_config { exit_on_retry_failure = true }
`

const hookConfig = consumerHead + `template {
  contents             = "{{ with secret \"%[3]s\" }}{{ .Data.toml }}{{ end }}"
  destination          = "%[4]s/.modal.toml"
  perms                = "0600"
  error_on_missing_key = true
  exec { command = ["sh", "-c", "cat \"$0/.modal.toml\" >>\"$0/seen\"", %[4]q] }
}
`

const programConfig = consumerHead + `env_template "MODAL_TOKEN_ID" {
  contents             = "{{ with secret \"%[3]s\" }}{{ .Data.token_id }}{{ end }}"
  error_on_missing_key = true
}
env_template "MODAL_TOKEN_SECRET" {
  contents             = "{{ with secret \"%[3]s\" }}{{ .Data.token_secret }}{{ end }}"
  error_on_missing_key = true
}
exec {
  command                   = ["sh", "-c", "env | grep ^MODAL_TOKEN_ | sort >>\"$0/seen\"; exec sleep 600", %[4]q]
  restart_on_secret_changes = "always"
}
`

// StartHook starts an Agent that writes a .modal.toml from the path (<mount>/creds/<role>/toml) and runs a
// hook. The Agent runs until ctx ends or the lab is closed.
func (l *Lab) StartHook(ctx context.Context, v *Vault, name, token, path string) (*Consumer, error) {
	c, err := l.startConsumer(ctx, v, name, token, path, hookConfig)
	if err == nil {
		c.File = filepath.Join(l.path(name), ".modal.toml")
	}
	return c, err
}

// StartProgram starts an Agent that runs a program with the token of the path (<mount>/creds/<role>). The
// Agent runs until ctx ends or the lab is closed.
func (l *Lab) StartProgram(ctx context.Context, v *Vault, name, token, path string) (*Consumer, error) {
	return l.startConsumer(ctx, v, name, token, path, programConfig)
}

func (l *Lab) startConsumer(ctx context.Context, v *Vault, name, token, path, config string) (*Consumer, error) {
	folder := l.path(name)
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of %s: %w", name, err)
	}
	tokenFile, configFile := filepath.Join(folder, "token"), filepath.Join(folder, "agent.hcl")
	for file, text := range map[string]string{
		tokenFile: token, configFile: fmt.Sprintf(config, v.Addr, tokenFile, path, folder),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("writing the files of %s: %w", name, err)
		}
	}
	p, err := l.start(ctx, name, l.env(), l.tools.Vault, "agent", "-config="+configFile)
	if err != nil {
		return nil, err
	}
	return &Consumer{Name: name, Log: p.log, path: path, seen: filepath.Join(folder, "seen"), process: p}, nil
}

// tokenPattern matches a token ID followed by its secret, in a .modal.toml and in an environment.
var tokenPattern = regexp.MustCompile(`(?i)token_id\W+(ak-\w+)\W+(?:modal_)?token_secret\W+(as-\w+)`)

// Tokens returns the tokens that the hook or the program was run with, in order, and the time of the last
// run. It is an error if there was no run yet.
func (c *Consumer) Tokens() (tokens []Token, last time.Time, err error) {
	text, err := os.ReadFile(c.seen)
	if err != nil {
		return nil, last, err
	}
	info, err := os.Stat(c.seen)
	if err != nil {
		return nil, last, err
	}
	for _, halves := range tokenPattern.FindAllSubmatch(text, -1) {
		tokens = append(tokens, Token{string(halves[1]), string(halves[2])})
	}
	if len(tokens) == 0 {
		return nil, last, fmt.Errorf("%s has not run yet", c.Name)
	}
	return tokens, info.ModTime(), nil
}

// Alive returns an error with the end of the log if the Agent has stopped.
func (c *Consumer) Alive() error {
	select {
	case <-c.process.done:
		return fmt.Errorf("%s stopped and printed: %w", c.Name, c.process.said())
	default:
		return nil
	}
}
