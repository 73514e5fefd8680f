// SPDX-License-Identifier: MPL-2.0

//go:build linux

// Command bench measures the engine through a real Vault server, beside the alternatives that a user could choose.
// Every figure has a ratio to another figure of the same run, because the ratio does not depend on the machine's
// speed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"vault-plugin-secrets-modal/e2e/lab"
)

// options set how much to measure.
type options struct {
	check  bool
	only   string
	rounds int
	each   time.Duration
}

func main() {
	var o options
	flag.BoolVar(&o.check, "check", false, "only check reads: fail if they are too slow in comparison with other plugins")
	flag.StringVar(&o.only, "only", "", "measure only this `part`: reads, plugins, roles, rotation or verify")
	flag.IntVar(&o.rounds, "rounds", 5, "number of rounds; the figures are medians of them")
	flag.DurationVar(&o.each, "each", 2*time.Second, "duration of one sample")
	flag.Parse()
	lab.Main("bench", func(ctx context.Context) error { return run(ctx, o) })
}

func run(ctx context.Context, o options) (err error) {
	tools, err := lab.BuildTools(ctx, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	engine, err := tools.BuildPlugin(ctx, "v0.0.0-bench")
	if err != nil {
		return err
	}
	parts := []struct {
		name string
		run  func(context.Context, *server, options) error
	}{{"reads", benchReads}, {"plugins", benchPlugins}, {"roles", benchRoles}, {"rotation", benchRotation}, {"verify", benchVerify}}
	if o.check {
		parts = parts[:1]
		parts[0].run = checkReads
	}
	for _, part := range parts {
		if o.only != "" && o.only != part.name {
			continue
		}
		err := withServer(ctx, tools, engine, func(s *server) error { return part.run(ctx, s, o) })
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}
