// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"vault-plugin-secrets-modal/e2e/lab"
)

// refresh is the role's refresh interval. The results compare the time to an Agent's disk with it.
const refresh = 5 * time.Second

// benchRotation measures how long a manual rotation takes to reach the file of a Vault Agent, which gets no notice
// of the rotation.
func benchRotation(ctx context.Context, s *server, o options) error {
	if err := s.mountEngine(ctx, "modal", lab.PluginName); err != nil {
		return err
	}
	if err := s.newRole(ctx, "modal/roles/ci"); err != nil {
		return err
	}
	agent, err := s.lab.StartAgent(ctx, s.Vault, s.Token, "modal/creds/ci/toml")
	if err != nil {
		return err
	}
	var rotated, rendered []time.Duration
	for i := range o.rounds {
		// The file is new at this moment, and a rotation right after that would always wait a whole interval.
		if err := wait(ctx, refresh*time.Duration(i)/time.Duration(o.rounds)); err != nil {
			return err
		}
		rotation, file, err := s.rotateToDisk(ctx, agent)
		if err != nil {
			return err
		}
		rotated, rendered = append(rotated, rotation), append(rendered, file)
	}
	row := func(what string, all []time.Duration) []string {
		ratio := func(d time.Duration) string {
			return fmt.Sprintf("%.2f (%s)", d.Seconds()/refresh.Seconds(), milliseconds(d))
		}
		return []string{what, strconv.Itoa(len(all)), ratio(slices.Min(all)), ratio(median(all)), ratio(slices.Max(all))}
	}
	table(fmt.Sprintf("Rotation, as a part of the refresh interval of %s", refresh),
		[]string{"from `rotate` to", "rotations", "shortest", "median", "longest"},
		[][]string{row("its answer", rotated), row("an Agent's new file", rendered)})
	return nil
}

// rotateToDisk rotates once. It returns the time of Vault's answer, and the time when the Agent's file had the
// token.
func (s *server) rotateToDisk(ctx context.Context, agent *lab.Agent) (answered, rendered time.Duration, err error) {
	token, err := s.emulator.NewToken(ctx)
	if err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	if err = s.write(ctx, "modal/rotate/ci", map[string]any{"token_id": token.ID, "token_secret": token.Secret}); err != nil {
		return 0, 0, err
	}
	answered = time.Since(begun)
	for rendered < 4*refresh {
		file, err := os.ReadFile(agent.File)
		if rendered = time.Since(begun); err != nil || bytes.Contains(file, []byte(token.ID)) {
			return answered, rendered, err
		}
		if err := wait(ctx, 5*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	return 0, 0, errors.New("the Agent's file still holds the old token after four refresh intervals")
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
