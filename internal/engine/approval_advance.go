// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// advance takes an approval one step further: it waits at Modal, without a lock, and brings the token
// that came into use, under the lock of what it is for. It tells after what time to go on, 0 for an
// approval that has ended. An error is the storage's, or Modal's, which may pass.
func (e *Engine) advance(ctx context.Context, key string, wait time.Duration) (again time.Duration, err error) {
	a, err := e.openApproval(ctx, key)
	if err != nil || a == nil {
		return 0, err
	}
	var approved *modalapi.ApprovedToken
	var failed error
	if a.TokenID == "" {
		approved, failed = e.await(ctx, a, wait)
	}
	unlock, err := e.lockOwner(ctx, approvalRole(key))
	if err != nil {
		return flowRetry, err
	}
	defer unlock()
	now, err := e.approvals.Get(ctx, key)
	if err != nil || now == nil || !now.Open || now.FlowID != a.FlowID || now.TokenID != a.TokenID {
		return pollInterval, err
	}
	if approved == nil && now.State != a.State { // it was given up meanwhile: Modal is asked once more
		return pollInterval, nil
	}
	if approved != nil {
		if now, err = e.receive(ctx, key, now, approved.Token); err != nil {
			return flowRetry, err
		}
	}
	ended, err := e.step(ctx, key, now, failed)
	if err != nil {
		return flowRetry, err
	}
	if ended == nil {
		return pollInterval, nil
	}
	return 0, e.putEnded(ctx, key, ended)
}

// openApproval is a running approval, marked as lapsed when its time is over, and nil for one that has
// ended.
func (e *Engine) openApproval(ctx context.Context, key string) (*Approval, error) {
	a, err := e.approvals.Get(ctx, key)
	if err != nil || a == nil || !a.Open {
		return nil, err
	}
	if now := e.Now(); !a.misdated(now) && !a.over(now) {
		return a, nil
	}
	unlock, err := e.lockOwner(ctx, approvalRole(key))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if a, err = e.approvals.Get(ctx, key); err != nil || a == nil || !a.Open {
		return nil, err
	}
	if now := e.Now(); a.misdated(now) {
		a = a.redated(now)
		return a, e.approvals.Put(ctx, key, a)
	} else if !a.over(now) {
		return a, nil
	}
	e.log().Warn("approval lapsed", "role", approvalRole(key), "flow", a.FlowID)
	a = a.closing(ApprovalLapsed, "nobody approved it in time")
	return a, e.approvals.Put(ctx, key, a)
}

// await asks Modal for the token of an approval. One that was given up is asked for without waiting.
func (e *Engine) await(ctx context.Context, a *Approval, wait time.Duration) (*modalapi.ApprovedToken, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	if a.State != ApprovalWaiting {
		wait = 0
	}
	client, release, err := e.connectTo(cfg, Token{ServerURL: a.ServerURL})
	if err != nil {
		return nil, err
	}
	defer release()
	return client.AwaitTokenFlow(ctx, a.flow(), min(wait, cfg.RequestTimeout/2))
}

// receive puts the token that a person approved into the ledger, before anything is asked about it: it
// exists, and is nobody's. It dies there unless it comes into use.
func (e *Engine) receive(ctx context.Context, key string, a *Approval, pair modalapi.Token) (*Approval, error) {
	known, err := e.revocations.Get(ctx, pair.ID)
	if err != nil {
		return nil, err
	}
	if known == nil {
		entry := newEntry(unproven(pair, a.ServerURL), reasonApproved, e.Now(), 0)
		entry.Role, entry.Method = approvalRole(key), methodAutomatic
		entry.NotBefore = later(e.Now(), a.Lapses).Add(unfinishedAfter)
		entry.NextAttempt = entry.NotBefore
		if err = e.revocations.Put(ctx, entry.Key(), entry); err != nil {
			return nil, err
		}
	}
	after := *a
	after.TokenID = pair.ID
	return &after, e.approvals.Put(ctx, key, &after)
}

// step is what becomes of an approval after Modal was asked: nil where it goes on. The caller holds the
// lock of what it is for.
func (e *Engine) step(ctx context.Context, key string, a *Approval, failed error) (ended *Approval, err error) {
	switch {
	case a.TokenID != "":
		return e.finish(ctx, key, a)
	case failed != nil && (isStorageError(failed) || passes(failed) && e.Now().Before(a.Lapses.Add(lateAnswer))):
		return nil, failed
	case failed != nil && a.State == ApprovalWaiting:
		return a.ended(ApprovalRefused, "no token was approved: "+modalapi.Said(failed)), nil
	case a.State != ApprovalWaiting:
		return a.ended("", ""), nil
	}
	return nil, nil //nolint:nilnil // nobody has approved yet
}

// passes says of an answer of Modal's that the same question may be answered otherwise a moment later.
func passes(err error) bool {
	kind := modalapi.KindOf(err)
	var r *refusal
	return !errors.As(err, &r) && (kind == modalapi.KindUnavailable || kind == modalapi.KindThrottled)
}

// putEnded stores how an approval ended, where what it was for is still there.
func (e *Engine) putEnded(ctx context.Context, key string, ended *Approval) error {
	e.log().Info("approval ended", "role", approvalRole(key), "flow", ended.FlowID, "state", ended.State, "token_id", ended.TokenID, "reason", ended.Said)
	if role := approvalRole(key); role != "" {
		r, err := e.roles.Get(ctx, role)
		if err != nil {
			return err
		}
		if r == nil {
			return e.approvals.Delete(ctx, key)
		}
	}
	return e.approvals.Put(ctx, key, ended)
}
