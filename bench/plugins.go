// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"vault-plugin-secrets-modal/e2e/lab"
)

// benchPlugins measures the processor time that the plugins' own processes need per read, without Vault's part. It
// compares the engine with the no-op plugin in the same rounds.
func benchPlugins(ctx context.Context, s *server, o options) error {
	if err := s.add(ctx, "noop", ".", "./bench/noop"); err != nil {
		return err
	}
	if err := s.mount(ctx, "noop", "noop", nil); err != nil {
		return err
	}
	if err := s.mountEngine(ctx, "modal", lab.PluginName); err != nil {
		return err
	}
	if err := s.newRole(ctx, "modal/roles/ci"); err != nil {
		return err
	}
	all := []target{creds, noop, callbacks}
	pids, err := s.processes(all...)
	if err != nil {
		return err
	}
	const clients = 8
	r := newReader(s.Addr, s.Token)
	used, ratios := map[target][]time.Duration{}, map[target][]float64{}
	for range o.rounds {
		for _, i := range rand.Perm(len(pids)) {
			t := all[i]
			if _, err := r.load(ctx, t.path, clients, o.each/10); err != nil {
				return err
			}
			before, err := processorTime(pids[t])
			if err != nil {
				return err
			}
			seen, err := r.load(ctx, t.path, clients, o.each)
			if err != nil {
				return err
			}
			after, err := processorTime(pids[t])
			if err != nil {
				return err
			}
			used[t] = append(used[t], (after-before)/time.Duration(seen.reads))
		}
		last := len(used[noop]) - 1
		for t := range pids {
			ratios[t] = append(ratios[t], float64(used[t][last])/float64(used[noop][last]))
		}
	}
	var rows [][]string
	for _, t := range all {
		rows = append(rows, []string{t.name, fmt.Sprintf("%d µs", median(used[t]).Microseconds()), fmt.Sprintf("%.2f", median(ratios[t]))})
	}
	table(fmt.Sprintf("Processor time of the plugin's own process per read, %d clients, medians of %d rounds", clients, o.rounds),
		[]string{"read", "plugin", "× no-op plugin"}, rows)
	return nil
}

// processes returns the PIDs of the plugins of some targets, by file name.
func (s *server) processes(targets ...target) (map[target]int, error) {
	running, err := s.PluginPIDs()
	if err != nil {
		return nil, err
	}
	files := map[string]int{}
	for _, pid := range running {
		file, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			return nil, fmt.Errorf("look for the plugins' processes: %w", err)
		}
		files[filepath.Base(file)] = pid
	}
	pids := map[target]int{}
	for _, t := range targets {
		file := "noop"
		if t == creds {
			file = s.engine.Command
		}
		if pids[t] = files[file]; pids[t] == 0 {
			return nil, fmt.Errorf("no process runs %s", file)
		}
	}
	return pids, nil
}
