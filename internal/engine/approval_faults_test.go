// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

func TestApproval_ATokenApprovedAsTheApprovalEndsDeletesItself(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		b.modal.Inject("TokenFlowWait", modaltest.Fault{Code: codes.Unavailable, Times: -1})
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.pass(time.Minute)
		late := b.approve(a, b.member)
		warnings, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		require.Contains(t, warnings[0], "keeps asking")
		b.modal.ClearFaults()
		b.ticks(time.Minute)
		require.False(t, b.accepts(late))
		require.Empty(t, b.queueIDs())
		require.Contains(t, b.approvalOf("personal", 0).Reason, "token "+late.ID+" of workspace \"acme\" was approved afterwards: it deleted itself")
	})
}

func TestApproval_SucceedsIfModalRejectsTheTokenInItsFirstSeconds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.RefuseNewTokensFor(20 * time.Second)
		token := b.approve(a, b.member)
		b.pass(10 * time.Second)
		require.Equal(b.t, []string{token.ID}, b.queueIDs(), "the new token must have a revocation")
		b.pass(20 * time.Second)
		require.Equal(b.t, model.ApprovalDone, b.approvalOf("personal", 0).State)
		require.Equal(b.t, token.ID, b.current("personal").ID)
	})
}

func TestApproval_AnUnverifiedTokenNeverReplacesTheApprovedSecret(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: -1})
		approved := b.approve(a, b.member)
		b.pass(10 * time.Second)
		require.Equal(t, []string{approved.ID}, b.queueIDs(), "the engine has the token and does not know its owner yet")

		wrong := staticRole("other", approved)
		wrong.Supplied = unverified(modaltest.Token{ID: approved.ID, Secret: b.member.NewToken().Secret})
		_, err := b.engine.Roles.Write(t.Context(), wrong)
		require.ErrorContains(t, err, "with another secret, which Modal has accepted")

		b.modal.ClearFaults()
		b.pass(time.Minute)
		require.Equal(t, approved.Secret, b.current("personal").Secret)
	})
}

func TestApproval_ATokenThatModalAcceptsLateKeepsItsRevocation(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.RefuseNewTokensFor(5 * time.Minute)
		token := b.approve(a, b.member)
		b.pass(2 * time.Minute)
		refused := b.approvalOf("personal", 0)
		require.Equal(t, model.ApprovalRefused, refused.State)
		require.Contains(t, refused.Reason, "it is in the revocation queue and deletes itself")
		require.Equal(t, []string{token.ID}, b.queueIDs())
		require.NoError(t, func() error { _, err := b.engine.Revocations.End(t.Context(), token.ID, true); return err }())
		require.Equal(t, []string{token.ID}, b.queueIDs(), "a first rejection by Modal proves nothing yet")
		b.pass(5 * time.Minute)
		require.True(t, b.accepts(token))
		b.ticks(15 * time.Minute)
		require.False(t, b.accepts(token))
		require.Empty(t, b.queueIDs())
	})
}

func TestApproval_CancelledWhileModalAnswersIsPolledOnceMore(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		unlock, err := b.engine.Mount.LockRole(t.Context(), "personal")
		require.NoError(t, err)
		b.pass(8 * time.Second) // Modal has answered that nobody approved, and the poller waits for the lock
		late := b.approve(a, b.member)
		running, err := b.engine.Approvals.markCancelled(t.Context(), "personal")
		require.NoError(t, err)
		require.True(t, running)
		unlock()
		b.ticks(time.Minute)
		require.Contains(t, b.approvalOf("personal", 0).Reason, "was approved afterwards: it deleted itself")
		require.False(t, b.accepts(late))
		require.Empty(t, b.queueIDs())
	})
}

func TestApproval_DatedByAClockFarAheadStillLapsesInTime(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.empty("personal")
		b.ahead.Store(int64(40 * model.Day))
		b.begin(model.ApprovalRequest{Role: "personal"})
		b.ahead.Store(0)
		b.restart()
		b.ticks(model.DefaultLapse + 2*time.Minute)
		require.Equal(b.t, model.ApprovalLapsed, b.approvalOf("personal", 0).State)
		b.begin(model.ApprovalRequest{Role: "personal"})
	})
}

func TestApproval_ATokenRefusedUnderAClockFarAheadStillEndsSoon(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.approved("personal")
		approval := b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: -1})
		wrong := b.approve(approval, b.workspace.AddMember("bob"))
		b.pass(20 * time.Second)
		require.NotNil(b.t, b.revocation(wrong.ID))
		b.ahead.Store(int64(40 * model.Day))
		b.pass(5 * time.Minute)
		b.ahead.Store(0)
		b.modal.ClearFaults()
		b.restart()
		b.ticks(time.Hour)
		require.False(b.t, b.accepts(wrong))
		require.Empty(b.t, b.queueIDs())
	})
}

func TestApproval_SucceedsAfterAnOutageAtAnyTime(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		b.modal.SetOutage(true)
		_, err := b.engine.Approvals.Begin(t.Context(), model.ApprovalRequest{Role: "personal"})
		require.ErrorContains(t, err, "the approval was not begun")
		b.modal.SetOutage(false)
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.SetOutage(true)
		b.pass(5 * time.Minute)
		b.modal.SetOutage(false)
		b.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: -1})
		token := b.approve(a, b.member)
		b.pass(time.Minute)
		waiting := b.approvalOf("personal", 0)
		require.Equal(t, model.ApprovalWaiting, waiting.State)
		require.Equal(t, token.ID, waiting.TokenID)
		require.Equal(t, []string{token.ID}, b.queueIDs(), "the new token must have a revocation")
		b.modal.ClearFaults()
		require.Equal(t, model.ApprovalDone, b.approvalOf("personal", 20*time.Second).State)
		require.Empty(t, b.queueIDs())
	})
}

func TestApproval_AfterACrashDoesNotBringBackAReplacedToken(t *testing.T) {
	t.Parallel()
	for _, lapsed := range []bool{false, true} {
		inBubble(t, func(b *bubble) {
			t := b.t
			b.approved("personal")
			a := b.begin(model.ApprovalRequest{Role: "personal"})
			b.disk.crashAt(8, false) // the write that ends the approval
			token := b.approve(a, b.member)
			b.pass(30 * time.Second)
			require.True(t, b.disk.crashed())
			require.Equal(t, model.ApprovalWaiting, b.approvalOf("personal", 0).State)
			b.restart()
			require.Equal(t, token.ID, b.current("personal").ID)
			b.rotate(model.RotateRequest{Role: "personal", Supplied: bringing(b.member.NewToken())})
			if lapsed {
				b.pass(time.Hour)
			}
			b.ticks(2 * time.Minute)
			require.Equal(t, 3, b.current("personal").Version, "the replaced token must not become current again")
			require.True(t, b.accepts(token), "the replaced token must keep its grace period")
			done := b.approvalOf("personal", 0)
			require.Equal(t, model.ApprovalDone, done.State)
			require.Contains(t, done.Reason, "another token has replaced it since")
		})
	}
}

func TestApproval_ContinuesInAnotherProcessAndWhilePaused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		b.configure(model.ConfigWrite{Paused: to(true)})
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.restart()
		token := b.approve(a, b.member)
		b.ticks(time.Minute)
		require.Equal(t, token.ID, b.current("personal").ID)
	})
}

func TestApproval_ContinuesAfterAManualRotationAndEndsWithTheRole(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.approved("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.rotate(model.RotateRequest{Role: "personal", Supplied: bringing(b.member.NewToken())})
		token := b.approve(a, b.member)
		require.Equal(t, model.ApprovalDone, b.approvalOf("personal", 15*time.Second).State)
		require.Equal(t, token.ID, b.current("personal").ID)
		require.Equal(t, 3, b.current("personal").Version)

		a = b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.Inject("TokenFlowWait", modaltest.Fault{Code: codes.Unavailable, Times: 8})
		late := b.approve(a, b.member)
		b.deleteRole("personal")
		b.ticks(2 * time.Minute)
		require.False(t, b.accepts(late))
		gone, err := b.engine.Approvals.Read(t.Context(), "personal", 0)
		require.NoError(t, err)
		require.Nil(t, gone)
	})
}

func TestApproval_IsRefusedAtOnceForARoleThatCannotUseIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		b.managed("ci")
		b.write(model.RoleWrite{Name: "unverified", Type: to(model.TypeStatic), Supplied: model.Supplied{Token: bringing(b.member.NewToken()).Token}})
		b.write(staticRole("robot", b.workspace.AddServiceUser("robot")))
		for role, why := range map[string]string{
			"ci": "no person approves them", "none": "no role is named none", "unverified": "stored with verify=false", "robot": "a person can approve only a token of their own",
		} {
			_, err := b.engine.Approvals.Begin(t.Context(), model.ApprovalRequest{Role: role})
			require.ErrorContains(t, err, why)
			require.True(t, model.IsUserError(err))
		}
		b.write(staticRole("often", b.member.NewToken()))
		for range model.MaxPreviousTokens {
			b.rotate(model.RotateRequest{Role: "often", Supplied: bringing(b.member.NewToken())})
		}
		_, err := b.engine.Approvals.Begin(t.Context(), model.ApprovalRequest{Role: "often"})
		require.ErrorContains(t, err, "10 previous tokens in their grace period")
		require.Empty(t, b.modal.Flows())
		grace := time.Duration(0)
		b.begin(model.ApprovalRequest{Role: "often", Grace: &grace})
	})
}

// The process dies at each write of an approval, from its begin to its end.
func TestApproval_EveryCutLosesNoTokenAndTheApprovalStillSucceeds(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"personal", ""} {
		for at := 1; ; at++ {
			reached := false
			for _, after := range []bool{false, true} {
				inBubble(t, func(b *bubble) {
					t := b.t
					if role == "" {
						b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
					} else {
						b.approved(role)
					}
					b.disk.crashAt(at, after)
					a, err := b.engine.Approvals.Begin(t.Context(), model.ApprovalRequest{Role: role})
					if err != nil {
						reached = true
						return
					}
					token := b.approve(a, b.member)
					b.pass(30 * time.Second)
					reached = reached || b.disk.crashed()
					b.restart()
					b.ticks(2 * time.Minute)

					require.Equal(t, model.ApprovalDone, b.approvalOf(role, 0).State, "cut %d, after %t", at, after)
					require.True(t, b.accepts(token))
					b.pass(24 * time.Hour)
					b.ticks(time.Hour)
					require.Empty(t, b.queueIDs(), "cut %d, after %t", at, after)
					require.True(t, b.accepts(token))
				})
			}
			if !reached {
				break
			}
		}
	}
}
