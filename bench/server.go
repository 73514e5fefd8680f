// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/hashicorp/vault/api"

	"vault-plugin-secrets-modal/e2e/lab"
)

// server is a lab's Vault with production settings: with an audit log, but without a log line per request.
type server struct {
	*lab.Vault
	lab      *lab.Lab
	tools    *lab.Tools
	emulator *lab.Emulator
	engine   lab.Plugin
	api      *api.Client
}

// startServer starts a Vault and the emulator, and registers the engine in the catalogue.
func startServer(ctx context.Context, l *lab.Lab, tools *lab.Tools, engine lab.Plugin) (*server, error) {
	s := &server{lab: l, tools: tools, engine: engine}
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
	return s, s.Register(ctx, engine)
}

func (s *server) write(ctx context.Context, path string, data map[string]any) error {
	_, err := s.api.Logical().WriteWithContext(ctx, path, data)
	return err
}

// add builds a plugin from a package of the module in a folder, and registers it.
func (s *server) add(ctx context.Context, name, folder, pkg string) error {
	p, err := s.tools.BuildOther(ctx, name, folder, pkg)
	if err != nil {
		return err
	}
	return s.Register(ctx, p)
}

// addEngine registers the engine once more, under another name.
func (s *server) addEngine(ctx context.Context, name string, env ...string) error {
	p := s.engine
	p.Name, p.Env = name, env
	return s.Register(ctx, p)
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
func withServer(ctx context.Context, tools *lab.Tools, engine lab.Plugin, do func(*server) error) error {
	return lab.With(tools, func(l *lab.Lab) error {
		s, err := startServer(ctx, l, tools, engine)
		if err != nil {
			return err
		}
		return do(s)
	})
}
