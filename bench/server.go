// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-modal/e2e/lab"
)

// server is a lab's Vault with production settings: with an audit log, but without a log line per request.
type server struct {
	*lab.Vault
	lab      *lab.Lab
	emulator *lab.Emulator
	engine   lab.Plugin
	api      *api.Client
	plugins  string
}

// startServer starts a Vault and the emulator, and registers the engine in the catalogue.
func startServer(ctx context.Context, l *lab.Lab, engine lab.Plugin) (*server, error) {
	s := &server{lab: l, engine: engine}
	var err error
	if s.emulator, err = l.StartEmulator(ctx); err != nil {
		return nil, err
	}
	if s.Vault, err = l.StartVault(ctx); err != nil {
		return nil, err
	}
	config := api.DefaultConfig()
	config.Address = s.Addr
	if s.api, err = api.NewClient(config); err != nil {
		return nil, fmt.Errorf("make a client of Vault: %w", err)
	}
	s.api.SetToken(s.Token)
	// At trace level the SDK logs every call to a plugin. Lines of debug level contain the plugins' PIDs.
	if err = s.write(ctx, "sys/loggers", map[string]any{"level": "debug"}); err != nil {
		return nil, err
	}
	state, err := s.api.Logical().ReadWithContext(ctx, "sys/config/state/sanitized")
	if err != nil {
		return nil, fmt.Errorf("ask Vault for its plugin directory: %w", err)
	}
	s.plugins, _ = state.Data["plugin_directory"].(string)
	return s, s.register(ctx, lab.PluginName, engine.Version, engine.Command)
}

func (s *server) write(ctx context.Context, path string, data map[string]any) error {
	_, err := s.api.Logical().WriteWithContext(ctx, path, data)
	return err
}

// build compiles a program into the plugin directory, with the flags of a release.
func (s *server) build(ctx context.Context, dir, pkg, name string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-C", dir, "-trimpath", "-buildvcs=false", "-ldflags", "-s -w",
		"-o", filepath.Join(s.plugins, name), pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", name, err, out)
	}
	return nil
}

// register adds a file of the plugin directory to the catalogue, with its own environment.
func (s *server) register(ctx context.Context, name, version, command string, env ...string) error {
	binary, err := os.ReadFile(filepath.Join(s.plugins, command))
	if err != nil {
		return fmt.Errorf("hash the plugin %s: %w", name, err)
	}
	sum := sha256.Sum256(binary)
	return s.api.Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
		Name: name, Type: api.PluginTypeSecrets, Command: command, SHA256: hex.EncodeToString(sum[:]), Version: version, Env: env,
	})
}

func (s *server) mount(ctx context.Context, path, plugin string, options map[string]string) error {
	return s.api.Sys().MountWithContext(ctx, path, &api.MountInput{Type: plugin, Options: options})
}

// mountEngine enables the engine and points it at the emulator, with a new admin token.
func (s *server) mountEngine(ctx context.Context, path, plugin string) error {
	if err := s.mount(ctx, path, plugin, nil); err != nil {
		return err
	}
	admin, err := s.emulator.NewToken(ctx)
	if err != nil {
		return err
	}
	return s.write(ctx, path+"/config", map[string]any{
		"server_url": s.emulator.URL, "token_id": admin.ID, "token_secret": admin.Secret,
	})
}

// newRole stores a token of the emulator as a static role.
func (s *server) newRole(ctx context.Context, path string) error {
	token, err := s.emulator.NewToken(ctx)
	if err != nil {
		return err
	}
	return s.write(ctx, path, map[string]any{
		"type": "static", "token_id": token.ID, "token_secret": token.Secret, "refresh_interval": "5s",
	})
}

// withServer runs a function that needs a separate Vault.
func withServer(ctx context.Context, tools *lab.Tools, engine lab.Plugin, do func(*server) error) (err error) {
	l, err := lab.New(tools)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s, err := startServer(ctx, l, engine)
	if err != nil {
		return err
	}
	return do(s)
}
