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

// The verdicts on a row.
const (
	held     = "held"
	failed   = "FAILED"
	learnt   = "learnt" // of what is not known
	notTried = "not tried"
)

const (
	// patience is for what Modal may need time for: the engine gives a new token as long.
	patience = 45 * time.Second
	pause    = 500 * time.Millisecond
	cleaning = 2 * time.Minute
)

type finding struct{ verdict, saw string }

// trial is one run: what it made, and what it saw.
type trial struct {
	client   *modalapi.Client
	own      modalapi.Token
	who      modalapi.Identity
	prefix   string
	life     time.Duration
	browser  bool
	progress io.Writer

	findings map[string]finding
	names    []string         // of the workspace, for the report to leave out
	approved []modalapi.Token // not seen deleted
}

// all tries every row and cleans up, whatever came of it. The error is what is left at Modal.
func (t *trial) all(ctx context.Context) (left error) {
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaning)
		defer cancel()
		left = t.cleanUp(cleanup)
	}()
	t.find("no-auth-token", true, "TokenInfoGet answered without it")
	t.serviceUsers(ctx)
	if t.browser {
		t.members(ctx)
	}
	return nil
}

// find settles a row; the first word on it stays, but that a failure outweighs all.
func (t *trial) find(id string, holds bool, saw string, args ...any) {
	verdict := failed
	if holds {
		verdict = held
	}
	t.settle(id, verdict, fmt.Sprintf(saw, args...))
}

func (t *trial) learn(id, saw string, args ...any) { t.settle(id, learnt, fmt.Sprintf(saw, args...)) }

func (t *trial) settle(id, verdict, saw string) {
	if _, settled := t.findings[id]; settled && verdict != failed {
		return
	}
	t.findings[id] = finding{verdict, saw}
	t.say("  %-26s %s", id, verdict)
}

// skip leaves rows open, and says why.
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

// answer is how Modal answered, in the words of gRPC.
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
