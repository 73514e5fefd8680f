// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// advance takes an approval one step further. It waits at Modal without a lock. It then uses a token that arrived,
// under the lock of the role or of config. It returns the time after which to call it again, or 0 if the approval has
// ended. An error comes from storage, or from Modal and may pass.
func (ap *Approvals) advance(ctx context.Context, key string, wait time.Duration) (again time.Duration, err error) {
	a, err := ap.openApproval(ctx, key)
	if err != nil || a == nil {
		return 0, err
	}
	var approved *modalapi.ApprovedToken
	var failed error
	if a.State == model.ApprovalWaiting && a.TokenID == "" {
		approved, failed = ap.await(ctx, a.Flow, wait)
	}
	unlock, err := ap.mount.LockOwner(ctx, model.ApprovalRole(key))
	if err != nil {
		return flowRetry, err
	}
	defer unlock()
	if approved != nil {
		if err = ap.receive(ctx, key, a.Flow, approved); err != nil {
			return flowRetry, err
		}
	}
	latest, err := ap.mount.Approvals.Get(ctx, key)
	if err != nil || latest == nil || !latest.Open || latest.FlowID != a.FlowID || latest.State != a.State || (approved == nil && latest.TokenID != a.TokenID) {
		return pollInterval, err // another request has advanced the approval
	}
	ended, err := ap.decide(ctx, key, latest, failed)
	if err != nil {
		return flowRetry, err
	}
	if ended == nil {
		return pollInterval, nil
	}
	return 0, ap.putEnded(ctx, key, ended)
}

// openApproval returns a running approval, or nil if it has ended. It marks an approval as lapsed when its time is
// over.
func (ap *Approvals) openApproval(ctx context.Context, key string) (*model.Approval, error) {
	a, err := ap.mount.Approvals.Get(ctx, key)
	if err != nil || a == nil || !a.Open {
		return nil, err
	}
	if now := ap.mount.Now(); !a.HasImpossibleTimes(now) && !a.HasLapsed(now) {
		return a, nil
	}
	unlock, err := ap.mount.LockOwner(ctx, model.ApprovalRole(key))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if a, err = ap.mount.Approvals.Get(ctx, key); err != nil || a == nil || !a.Open {
		return nil, err
	}
	const lapsed = "the approval was not given in time"
	switch now := ap.mount.Now(); {
	case a.HasImpossibleTimes(now):
		a = a.RepairTimes(now)
	case !a.HasLapsed(now):
		return a, nil
	case a.TokenID == "":
		return nil, ap.putEnded(ctx, key, a.Ended(model.ApprovalLapsed, lapsed, now))
	default:
		a = a.Closing(model.ApprovalLapsed, lapsed)
	}
	return a, ap.mount.Approvals.Put(ctx, key, a)
}

// await asks Modal for the token of a flow, and lets Modal delay its answer by wait.
func (ap *Approvals) await(ctx context.Context, f model.Flow, wait time.Duration) (*modalapi.ApprovedToken, error) {
	cfg, err := ap.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	client, release, err := ap.mount.ConnectTo(cfg, model.Token{ServerURL: f.ServerURL})
	if err != nil {
		return nil, err
	}
	defer release()
	return client.AwaitTokenFlow(ctx, modalapi.TokenFlow{ID: f.FlowID, WaitSecret: f.WaitSecret}, min(wait, cfg.RequestTimeout/2))
}

// receive puts a token that a person approved into the revocation queue, before Modal is asked about it. The token is
// valid, and only the engine knows it. The engine ends the token unless the token becomes current. If the token arrives
// after its approval has ended, receive logs it and ends it at once. The caller holds the lock of the role or of
// config.
func (ap *Approvals) receive(ctx context.Context, key string, f model.Flow, approved *modalapi.ApprovedToken) error {
	a, err := ap.mount.Approvals.Get(ctx, key)
	if err != nil {
		return err
	}
	if a == nil {
		a = &model.Approval{}
	}
	waits := a.Open && a.State == model.ApprovalWaiting && a.FlowID == f.FlowID && a.TokenID == ""
	if !waits && a.HasDelivered(f, approved.Token.ID) {
		return nil
	}
	entry := model.NewTokenRevocation(model.UnverifiedToken(approved.Token, f.ServerURL), model.ReasonApproved, ap.mount.Now(), 0)
	entry.Role, entry.Method = model.ApprovalRole(key), model.MethodAutomatic
	if waits {
		entry.NotBefore = model.Later(ap.mount.Now(), a.Lapses).Add(model.UnfinishedAfter)
		entry.NextAttempt = entry.NotBefore
	}
	switch known, err := ap.mount.Revocations.Get(ctx, entry.Key()); {
	case err != nil:
		return err
	case known != nil: // the token arrived before, and storage failed or the node changed after that
		entry = known
	default:
		if err = ap.mount.Revocations.Put(ctx, entry.Key(), entry); err != nil {
			return err
		}
	}
	if !waits {
		return ap.receiveLate(ctx, key, a, f, entry, approved.Workspace)
	}
	after := *a
	after.TokenID = entry.ID
	return ap.mount.Approvals.Put(ctx, key, &after)
}

// decide returns the ended approval, or nil if the approval goes on. failed is the error of Modal's answer. The
// caller holds the lock of the role or of config.
func (ap *Approvals) decide(ctx context.Context, key string, a *model.Approval, failed error) (ended *model.Approval, err error) {
	switch {
	case a.TokenID != "":
		return ap.finish(ctx, key, a)
	case model.IsUnanswered(failed):
		return nil, failed
	case failed != nil:
		return a.Ended(model.ApprovalRefused, "no token was approved: "+modalapi.Said(failed), ap.mount.Now()), nil
	}
	return nil, nil //nolint:nilnil // no person has approved yet
}

// putEnded stores how an approval ended. If its role no longer exists, putEnded hides the approval and keeps only its
// flows.
func (ap *Approvals) putEnded(ctx context.Context, key string, ended *model.Approval) error {
	role := model.ApprovalRole(key)
	ap.mount.Log().Info("approval ended", append([]any{"role", role, "state", ended.State, "token_id", ended.TokenID, "reason", ended.Reason},
		ended.Account.LogPairs("")...)...)
	if role != "" {
		r, err := ap.mount.Roles.Get(ctx, role)
		if err != nil {
			return err
		}
		if r == nil {
			ended = ended.Hidden()
		}
	}
	return ap.put(ctx, key, ended)
}
