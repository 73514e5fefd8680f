// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"vault-plugin-secrets-modal/e2e/lab"
	"vault-plugin-secrets-modal/internal/modaltest"
)

const (
	verifiedRoles = 10_000
	verifyEvery   = 10 * time.Minute
	// modalTakes is the duration of each call to Modal after the roles exist.
	modalTakes = 50 * time.Millisecond
)

// modal is an emulator in this process. It counts the calls that ask about a token.
type modal struct {
	*modaltest.Server

	url    string
	admin  modaltest.Token
	checks atomic.Int64
}

// withModal runs a function that needs a separate emulator.
func withModal(ctx context.Context, do func(*modal) error) (err error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m := &modal{Server: modaltest.New(), url: "http://" + listener.Addr().String()}
	m.admin = m.AddWorkspace("demo").AddMember("operator").NewToken()
	m.OnCall(func(method string) {
		if method == "TokenInfoGet" {
			m.checks.Add(1)
		}
	})
	served := make(chan error, 1)
	go func() { served <- m.Serve(listener) }()
	defer func() {
		m.Close()
		err = errors.Join(err, <-served)
	}()
	return do(m)
}

// benchVerify lets the engine verify many managed roles by itself, reads one role meanwhile, and measures the cost
// of both.
func benchVerify(ctx context.Context, s *server, o options) error {
	return withModal(ctx, func(m *modal) error {
		if err := s.mintToVerify(ctx, m); err != nil {
			return err
		}
		before, begun := m.CallCount(), time.Now()
		if err := s.write(ctx, "modal/config", map[string]any{"verification_interval": verifyEvery.String()}); err != nil {
			return err
		}
		seen, err := s.watchVerification(ctx, m, o)
		if err != nil {
			return err
		}
		return seen.report(begun, m.CallsFrom(before), m.ServiceUsers())
	})
}

// mintToVerify creates the roles. The engine has not verified any of them yet.
func (s *server) mintToVerify(ctx context.Context, m *modal) error {
	if err := s.mount(ctx, "modal", lab.PluginName, nil); err != nil {
		return err
	}
	if err := s.write(ctx, "modal/config", map[string]any{
		"server_url": m.url, "token_id": m.admin.ID, "token_secret": m.admin.Secret, "verification_interval": 0,
	}); err != nil {
		return err
	}
	_, err := each(ctx, verifiedRoles, func(ctx context.Context, i int) error {
		return s.write(ctx, fmt.Sprintf("modal/roles/role-%05d", i), map[string]any{"type": "managed", "environment_roles": "main=viewer"})
	})
	m.Inject("*", modaltest.Fault{Delay: modalTakes, Times: -1})
	return err
}

// verification holds the results: samples of reads during verification and without it, the plugin's processor time
// with the number of checks in it (without reads), and the checks of each tick.
type verification struct {
	beside, idle []sample
	processor    time.Duration
	checks       int64
	ticks        []int64
}

// watchVerification measures for an interval. While the engine verifies, reads and pauses alternate. After each
// tick it takes as many samples of reads without verification.
func (s *server) watchVerification(ctx context.Context, m *modal, o options) (*verification, error) {
	pids, err := s.PluginPIDs()
	if err != nil {
		return nil, err
	}
	v, r, pid := &verification{}, newReader(s.Addr, s.Token), pids[len(pids)-1]
	for begun := time.Now(); time.Since(begun) < verifyEvery; {
		before := m.checks.Load()
		goesOn, err := m.verifies(ctx)
		if err != nil {
			return nil, err
		}
		if !goesOn {
			continue
		}
		reads := len(v.beside)
		for goesOn && err == nil {
			if goesOn, err = v.besideReads(ctx, m, r, o); goesOn {
				goesOn, err = v.alone(ctx, m, pid, o)
			}
		}
		if err != nil {
			return nil, err
		}
		v.ticks = append(v.ticks, m.checks.Load()-before)
		if err = v.idleReads(ctx, m, r, o, len(v.beside)-reads); err != nil {
			return nil, err
		}
	}
	return v, nil
}

const readWhileVerifying = "modal/creds/role-00000"

// besideReads takes a sample of reads. It counts only if the engine verified all the time.
func (v *verification) besideReads(ctx context.Context, m *modal, r *reader, o options) (goesOn bool, err error) {
	got, err := r.load(ctx, readWhileVerifying, 8, o.each/2)
	if err != nil {
		return false, err
	}
	if goesOn, err = m.verifies(ctx); goesOn {
		v.beside = append(v.beside, got)
	}
	return goesOn, err
}

// idleReads takes a number of samples of reads, or fewer if the engine begins to verify again.
func (v *verification) idleReads(ctx context.Context, m *modal, r *reader, o options, count int) error {
	before := m.checks.Load()
	for range count {
		got, err := r.load(ctx, readWhileVerifying, 8, o.each/2)
		if err != nil || m.checks.Load() != before {
			return err
		}
		v.idle = append(v.idle, got)
	}
	return nil
}

// alone takes a sample of the plugin's processor time. It counts only if the engine verified all the time.
func (v *verification) alone(ctx context.Context, m *modal, pid int, o options) (goesOn bool, err error) {
	checks := m.checks.Load()
	before, err := processorTime(pid)
	if err != nil {
		return false, err
	}
	if err = wait(ctx, o.each/2); err != nil {
		return false, err
	}
	after, err := processorTime(pid)
	if err != nil {
		return false, err
	}
	made := m.checks.Load() - checks
	if goesOn, err = m.verifies(ctx); goesOn {
		v.processor, v.checks = v.processor+after-before, v.checks+made
	}
	return goesOn, err
}

// verifies reports whether the engine asks Modal about tokens now.
func (m *modal) verifies(ctx context.Context) (bool, error) {
	before := m.checks.Load()
	err := wait(ctx, 3*modalTakes)
	return m.checks.Load() > before, err
}

func (v *verification) report(begun time.Time, calls []modaltest.Call, users []modaltest.ServiceUserInfo) error {
	waiting := map[string]bool{}
	for _, user := range users {
		waiting[user.TokenID] = true
	}
	var took time.Duration
	for _, call := range calls {
		if call.Method == "TokenInfoGet" && waiting[call.TokenID] {
			delete(waiting, call.TokenID)
			took = call.At.Sub(begun)
		}
	}
	verified := len(users) - len(waiting)
	if len(v.beside) == 0 || len(v.idle) == 0 || v.checks == 0 {
		return fmt.Errorf("the engine verified %d roles, too few at a time to measure anything", verified)
	}
	cost, most := v.processor/time.Duration(v.checks), slices.Max(v.ticks)
	table(fmt.Sprintf("Verification of managed roles, verification_interval %s, %s a call to Modal", verifyEvery, modalTakes),
		[]string{"roles", "verified", "the last one after", "calls", "most in a tick", "plugin's CPU a role", "of that tick"},
		[][]string{{
			strconv.Itoa(len(users)), strconv.Itoa(verified), fmt.Sprintf("%.2f × the interval", took.Seconds()/verifyEvery.Seconds()),
			strconv.Itoa(len(calls)), strconv.FormatInt(most, 10), fmt.Sprintf("%d µs", cost.Microseconds()), milliseconds(cost * time.Duration(most)),
		}})
	row := func(what string, all []sample) []string {
		return []string{
			what, strconv.Itoa(len(all)), fmt.Sprintf("%.0f", typicalOf(all, rate)),
			milliseconds(time.Duration(typicalOf(all, p50))), milliseconds(time.Duration(typicalOf(all, p99))),
		}
	}
	ratio := func(figure func(sample) float64) string {
		return fmt.Sprintf("%.2f", typicalOf(v.beside, figure)/typicalOf(v.idle, figure))
	}
	table("Reads of creds/<role>, 8 clients: medians of the samples", []string{"", "samples", "req/s", "p50", "p99"},
		[][]string{row("idle", v.idle), row("beside verification", v.beside), {"ratio", "", ratio(rate), ratio(p50), ratio(p99)}})
	if len(waiting) > 0 {
		return fmt.Errorf("%d of %d roles were not verified within the interval of %s", len(waiting), len(users), verifyEvery)
	}
	return nil
}
