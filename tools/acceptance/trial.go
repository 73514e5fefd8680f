// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// The outcomes of a row.
const (
	held     = "held"
	failed   = "FAILED"
	learnt   = "learnt" // for the rows that are not known
	notTried = "not tried"
)

const (
	// patience is how long to wait for an effect at Modal. The engine waits as long for a new token.
	patience = 45 * time.Second
	pause    = 500 * time.Millisecond
	cleaning = 2 * time.Minute
)

type finding struct{ outcome, saw string }

// trial is one run, with the objects it created and its observations.
type trial struct {
	client   *modalapi.Client
	own      modalapi.Token
	who      modalapi.Identity
	prefix   string
	life     time.Duration
	browser  bool
	issuer   string // of identity tokens; empty: unknown
	identity string // an identity token, if the environment has one
	progress io.Writer

	started      time.Time // a few minutes before the run, because Modal's clock may be late
	made         []string  // IDs of the service users that this run created
	robotOfAudit string    // the answer to a service user that requested the audit log

	findings map[string]finding
	names    []string         // names in the workspace, which the report leaves out
	approved []modalapi.Token // approved tokens that may still exist
}

// all tries every row and cleans up in any case. The error names the objects that still exist at Modal.
func (t *trial) all(ctx context.Context) (left error) {
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaning)
		defer cancel()
		left = t.cleanUp(cleanup)
	}()
	t.find("no-auth-token", true, "TokenInfoGet answered without it")
	t.identityTokens(ctx)
	t.serviceUsers(ctx)
	t.workspace(ctx)
	if t.browser {
		t.members(ctx)
	}
	return nil
}

// find records a row's outcome. The first outcome stays, unless a later one is a failure.
func (t *trial) find(id string, holds bool, saw string, args ...any) {
	outcome := failed
	if holds {
		outcome = held
	}
	t.settle(id, outcome, fmt.Sprintf(saw, args...))
}

func (t *trial) learn(id, saw string, args ...any) { t.settle(id, learnt, fmt.Sprintf(saw, args...)) }

func (t *trial) settle(id, outcome, saw string) {
	if _, settled := t.findings[id]; settled && outcome != failed {
		return
	}
	t.findings[id] = finding{outcome, saw}
	t.say("  %-26s %s", id, outcome)
}

// skip leaves rows open and says why.
func (t *trial) skip(why string, ids ...string) {
	for _, id := range ids {
		t.settle(id, notTried, why)
	}
}

func (t *trial) say(text string, args ...any) { _, _ = fmt.Fprintf(t.progress, text+"\n", args...) }

// until asks again until the answer is the wanted one, and returns how long that took.
func until(ctx context.Context, limit time.Duration, wanted func() bool) (took time.Duration, met bool) {
	start := time.Now()
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	again := time.NewTicker(pause)
	defer again.Stop()
	for {
		if wanted() {
			return time.Since(start), true
		}
		select {
		case <-waiting.Done():
			return time.Since(start), false
		case <-again.C:
		}
	}
}

// answer names Modal's answer with gRPC's words.
func answer(err error) string {
	var failure *modalapi.Error
	switch {
	case err == nil:
		return "OK"
	case errors.As(err, &failure):
		return fmt.Sprintf("%s (%s)", failure.Kind, failure.Message)
	}
	return err.Error()
}

func (t *trial) refused(ctx context.Context, token modalapi.Token) bool {
	_, err := t.client.WhoAmI(ctx, token)
	return modalapi.KindOf(err) == modalapi.KindRefused
}

func (t *trial) accepted(ctx context.Context, token modalapi.Token) bool {
	_, err := t.client.WhoAmI(ctx, token)
	return err == nil
}
