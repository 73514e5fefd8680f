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
	if a.State == ApprovalWaiting && a.TokenID == "" {
		approved, failed = e.await(ctx, a.Flow, wait)
	}
	unlock, err := e.lockOwner(ctx, approvalRole(key))
	if err != nil {
		return flowRetry, err
	}
	defer unlock()
	if approved != nil {
		if err = e.receive(ctx, key, a.Flow, approved); err != nil {
			return flowRetry, err
		}
	}
	now, err := e.approvals.Get(ctx, key)
	if err != nil || now == nil || !now.Open || now.FlowID != a.FlowID || now.State != a.State || (approved == nil && now.TokenID != a.TokenID) {
		return pollInterval, err // another request has taken it further
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
	const lapsed = "nobody approved it in time"
	switch now := e.Now(); {
	case a.misdated(now):
		a = a.redated(now)
	case !a.over(now):
		return a, nil
	case a.TokenID == "":
		return nil, e.putEnded(ctx, key, a.ended(ApprovalLapsed, lapsed, now))
	default:
		a = a.closing(ApprovalLapsed, lapsed)
	}
	return a, e.approvals.Put(ctx, key, a)
}

// await asks Modal for the token of a flow, and has it wait so long with its answer.
func (e *Engine) await(ctx context.Context, f Flow, wait time.Duration) (*modalapi.ApprovedToken, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	client, release, err := e.connectTo(cfg, Token{ServerURL: f.ServerURL})
	if err != nil {
		return nil, err
	}
	defer release()
	return client.AwaitTokenFlow(ctx, modalapi.TokenFlow{ID: f.FlowID, WaitSecret: f.WaitSecret}, min(wait, cfg.RequestTimeout/2))
}

// receive takes in the token that a person approved: the token lives, and only the engine knows it. It enters the
// revocation queue before Modal is asked about it, and ends there unless it comes into use. A token that arrives
// after its approval has ended is named, and ended at once. The caller holds the lock of the role, or of config.
func (e *Engine) receive(ctx context.Context, key string, f Flow, approved *modalapi.ApprovedToken) error {
	a, err := e.approvals.Get(ctx, key)
	if err != nil {
		return err
	}
	if a == nil {
		a = &Approval{}
	}
	waits := a.Open && a.State == ApprovalWaiting && a.FlowID == f.FlowID && a.TokenID == ""
	if !waits && a.hasDelivered(f, approved.Token.ID) {
		return nil
	}
	entry := newEntry(unproven(approved.Token, f.ServerURL), reasonApproved, e.Now(), 0)
	entry.Role, entry.Method = approvalRole(key), methodAutomatic
	if waits {
		entry.NotBefore = later(e.Now(), a.Lapses).Add(unfinishedAfter)
		entry.NextAttempt = entry.NotBefore
	}
	known, err := e.revocations.Get(ctx, entry.Key())
	if err == nil && known == nil {
		err = e.revocations.Put(ctx, entry.Key(), entry)
	}
	if err != nil {
		return err
	}
	if !waits {
		return e.receiveLate(ctx, key, a, f, entry, approved.Workspace)
	}
	after := *a
	after.TokenID = entry.ID
	return e.approvals.Put(ctx, key, &after)
}

// step is what becomes of an approval after Modal was asked: nil where it goes on. The caller holds the
// lock of what it is for.
func (e *Engine) step(ctx context.Context, key string, a *Approval, failed error) (ended *Approval, err error) {
	switch {
	case a.TokenID != "":
		return e.finish(ctx, key, a)
	case isSilence(failed):
		return nil, failed
	case failed != nil:
		return a.ended(ApprovalRefused, "no token was approved: "+modalapi.Said(failed), e.Now()), nil
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
	role := approvalRole(key)
	e.log().Info("approval ended", append([]any{"role", role, "state", ended.State, "token_id", ended.TokenID, "reason", ended.Said},
		ended.Account.logged("")...)...)
	if role != "" {
		r, err := e.roles.Get(ctx, role)
		if err != nil {
			return err
		}
		if r == nil {
			ended = ended.forgotten()
		}
	}
	return e.putApproval(ctx, key, ended)
}
