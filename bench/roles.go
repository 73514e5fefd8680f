// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// benchRoles creates managed roles and measures everything that grows with their number.
func benchRoles(ctx context.Context, s *server, o options) error {
	var rows [][]string
	for _, count := range []int{100, 1000, 10000} {
		row, err := s.measureRoles(ctx, fmt.Sprintf("modal-%d", count), count, o)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	table("Managed roles: memory after a restart, a read of each role, reads of one role by 8 clients, and a list",
		[]string{"roles", "create each", "list", "list after a restart", "comparison after a restart", "RSS", "highest RSS"}, rows)
	return nil
}

// measureRoles uses a separate plugin process, so that the process's memory belongs to these roles alone.
func (s *server) measureRoles(ctx context.Context, mount string, count int, o options) ([]string, error) {
	if err := s.addEngine(ctx, mount); err != nil {
		return nil, err
	}
	if err := s.mountEngine(ctx, mount, mount); err != nil {
		return nil, err
	}
	name := func(i int) string { return fmt.Sprintf("role-%05d", i) }
	mint, err := each(ctx, count, func(ctx context.Context, i int) error {
		return s.write(ctx, mount+"/roles/"+name(i), map[string]any{"type": "managed", "environment_roles": "main=viewer"})
	})
	if err != nil {
		return nil, err
	}
	list, err := s.list(ctx, mount, count)
	if err != nil {
		return nil, err
	}
	if _, err = s.restartPlugin(ctx, mount); err != nil {
		return nil, err
	}
	compared, err := s.compare(ctx, mount)
	if err != nil {
		return nil, err
	}
	pid, err := s.restartPlugin(ctx, mount)
	if err != nil {
		return nil, err
	}
	// The plan reads each role from storage, as the engine's first tick does.
	cold, err := s.list(ctx, mount, count)
	if err != nil {
		return nil, err
	}
	r := newReader(s.Addr, s.Token)
	if _, err = each(ctx, count, func(ctx context.Context, i int) error {
		_, failed := r.read(ctx, mount+"/creds/"+name(i))
		return failed
	}); err != nil {
		return nil, err
	}
	if _, err = r.load(ctx, mount+"/creds/"+name(0), 8, 2*o.each); err != nil {
		return nil, err
	}
	if _, err = s.list(ctx, mount, count); err != nil {
		return nil, err
	}
	now, highest, err := residentMemory(pid)
	return []string{
		strconv.Itoa(count), milliseconds(mint / time.Duration(count)), milliseconds(list),
		milliseconds(cold), milliseconds(compared), mebibytes(now), mebibytes(highest),
	}, err
}

// compare makes a mount compare its storage with Modal's service users, as the engine's first tick does after a
// start.
func (s *server) compare(ctx context.Context, mount string) (time.Duration, error) {
	begun := time.Now()
	if err := s.write(ctx, mount+"/orphans", map[string]any{"dry_run": true}); err != nil {
		return 0, err
	}
	return time.Since(begun), nil
}

// list lists a mount's roles and returns the time it took.
func (s *server) list(ctx context.Context, mount string, count int) (time.Duration, error) {
	begun := time.Now()
	listed, err := s.api.Logical().ListWithContext(ctx, mount+"/roles")
	if err != nil {
		return 0, err
	}
	took := time.Since(begun)
	if keys, _ := listed.Data["keys"].([]any); len(keys) != count {
		return 0, fmt.Errorf("the list has %d roles, but %d were created", len(keys), count)
	}
	return took, nil
}

// restartPlugin restarts the mount's process and returns its PID.
func (s *server) restartPlugin(ctx context.Context, mount string) (pid int, err error) {
	if err = s.write(ctx, "sys/plugins/reload/backend", map[string]any{"mounts": []string{mount}}); err != nil {
		return 0, err
	}
	if _, err = s.api.Logical().ReadWithContext(ctx, mount+"/config"); err != nil {
		return 0, err
	}
	pids, err := s.PluginPIDs()
	if err != nil {
		return 0, err
	}
	return pids[len(pids)-1], nil
}

// each runs a function a number of times, 8 at once, and returns the time it took.
func each(ctx context.Context, count int, do func(context.Context, int) error) (time.Duration, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	begun := time.Now()
	for i := range count {
		group.Go(func() error { return do(ctx, i) })
	}
	err := group.Wait()
	return time.Since(begun), err
}
