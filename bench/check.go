// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// checks are the lowest allowed ratios of creds/<role> to the throughput of another read at 8 clients. A ratio
// fails only for a regression and not for a slow machine.
var checks = []struct {
	other target
	least float64
}{{noop, 1.10}, {callbacks, 0.95}, {externalKV, 1.8}}

// attempts is how often a ratio may be too low before the check fails. Other programs also use the machine.
const attempts = 3

func checkReads(ctx context.Context, s *server, _ options) error {
	if err := s.mountTargets(ctx); err != nil {
		return err
	}
	var err error
	for range attempts {
		if err = s.check(ctx); err == nil || ctx.Err() != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	return fmt.Errorf("%w, %d times in a row", err, attempts)
}

func (s *server) check(ctx context.Context) error {
	const clients, count, each = 8, 5, time.Second
	all, err := s.measure(ctx, []target{creds, noop, callbacks, externalKV}, []int{clients}, count, each)
	if err != nil {
		return err
	}
	for _, c := range checks {
		got := all.ratio(creds, c.other, clients)
		fmt.Printf("%s / %s = %.2f (at least %.2f)\n", creds.name, c.other.name, got, c.least)
		if got < c.least {
			return fmt.Errorf("%s has %.2f times the throughput of %s, but at least %.2f is required", creds.name, got, c.other.name, c.least)
		}
	}
	return nil
}
