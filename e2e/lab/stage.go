// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// interrupted is a shell's exit code for a program that Ctrl-C ended.
const interrupted = 130

// Main runs a program that uses labs, and exits with 1 if the program fails. Ctrl-C ends the program's context,
// so that the program stops what it started.
func Main(name string, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx)
	stopped := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case stopped:
		fmt.Fprintf(os.Stderr, "\n%s: interrupted\n", name)
		os.Exit(interrupted)
	default:
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, Mask(err.Error()))
		os.Exit(1)
	}
}

// Stage is a lab with a running server, and a build of the plugin in the server's plugin directory.
type Stage struct {
	*Lab
	Tools  *Tools
	Vault  *Vault
	Plugin Plugin
}

// OnStage runs a function on a new stage, and removes the stage after it. The server is the one that is ready
// first. It starts before the plugin is built, because a build without a cache takes a minute.
func OnStage(ctx context.Context, version string, do func(*Stage) error) (err error) {
	tools, err := findServer(ctx, quickestServer, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	return With(tools, func(l *Lab) error {
		s := &Stage{Lab: l, Tools: tools}
		var err error
		if s.Vault, err = l.StartVault(ctx); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "server: it answers at %s; the plugin and the emulator come next\n", s.Vault.Addr)
		if s.Plugin, err = tools.BuildPlugin(ctx, version); err != nil {
			return err
		}
		if err = tools.buildEmulator(ctx); err != nil {
			return err
		}
		return do(s)
	})
}

// Mount starts an emulator, and enables the plugin at modal/ with nothing stored in it.
func (s *Stage) Mount(ctx context.Context) (*Emulator, error) {
	emulator, err := s.StartEmulator(ctx)
	if err != nil {
		return nil, err
	}
	if err = s.Vault.Register(ctx, s.Plugin); err != nil {
		return nil, err
	}
	return emulator, s.Vault.must(ctx, s.Plugin.EnableArgs("modal")...)
}
