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

func TestApproval_ATokenApprovedInTheMomentOfTheEndDeletesItself(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		b.modal.Inject("TokenFlowWait", modaltest.Fault{Code: codes.Unavailable, Times: -1})
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.pass(time.Minute)
		late := b.approve(a, b.member)
		told, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		require.Contains(t, told[0], "keeps asking")
		b.modal.ClearFaults()
		b.ticks(time.Minute)
		require.False(t, b.accepts(late))
		require.Empty(t, b.ledger())
		require.Contains(t, b.stands("personal", 0).Reason, "token "+late.ID+" of workspace \"acme\" was approved afterwards: it deleted itself")
	})
}

func TestApproval_LandsAlthoughModalRefusesTheTokenInItsFirstSeconds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.RefuseNewTokensFor(20 * time.Second)
		token := b.approve(a, b.member)
		b.pass(10 * time.Second)
		require.Equal(b.t, []string{token.ID}, b.ledger(), "it is answered for")
		b.pass(20 * time.Second)
		require.Equal(b.t, model.ApprovalDone, b.stands("personal", 0).State)
		require.Equal(b.t, token.ID, b.current("personal").ID)
	})
}

func TestApproval_ATokenThatModalLearnsOfLateIsNotForgotten(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.RefuseNewTokensFor(5 * time.Minute)
		token := b.approve(a, b.member)
		b.pass(2 * time.Minute)
		refused := b.stands("personal", 0)
		require.Equal(t, model.ApprovalRefused, refused.State)
		require.Contains(t, refused.Reason, "it is in the revocation queue and deletes itself")
		require.Equal(t, []string{token.ID}, b.ledger())
		require.NoError(t, func() error { _, err := b.engine.Revocations.End(t.Context(), token.ID, true); return err }())
		require.Equal(t, []string{token.ID}, b.ledger(), "that Modal refuses it proves nothing yet")
		b.pass(5 * time.Minute)
		require.True(t, b.accepts(token))
		b.ticks(15 * time.Minute)
		require.False(t, b.accepts(token))
		require.Empty(t, b.ledger())
	})
}

func TestApproval_ThatIsGivenUpWhileModalAnswersIsAskedForOnceMore(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		unlock, err := b.engine.Mount.LockRole(t.Context(), "personal")
		require.NoError(t, err)
		b.pass(8 * time.Second) // Modal has answered that nobody approved, and the follower waits for the lock
		late := b.approve(a, b.member)
		running, err := b.engine.Approvals.markCancelled(t.Context(), "personal")
		require.NoError(t, err)
		require.True(t, running)
		unlock()
		b.ticks(time.Minute)
		require.Contains(t, b.stands("personal", 0).Reason, "was approved afterwards: it deleted itself")
		require.False(t, b.accepts(late))
		require.Empty(t, b.ledger())
	})
}

func TestApproval_ThatAClockFarAheadDatedLapsesInItsTimeAllTheSame(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.empty("personal")
		b.ahead.Store(int64(40 * model.Day))
		b.begin(model.ApprovalRequest{Role: "personal"})
		b.ahead.Store(0)
		b.restart()
		b.ticks(model.DefaultLapse + 2*time.Minute)
		require.Equal(b.t, model.ApprovalLapsed, b.stands("personal", 0).State)
		b.begin(model.ApprovalRequest{Role: "personal"})
	})
}

func TestApproval_ATokenThatAClockFarAheadDiscardedEndsSoonAllTheSame(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.approved("personal")
		begun := b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: -1})
		wrong := b.approve(begun, b.workspace.AddMember("bob"))
		b.pass(20 * time.Second)
		require.NotNil(b.t, b.entry(wrong.ID))
		b.ahead.Store(int64(40 * model.Day))
		b.pass(5 * time.Minute)
		b.ahead.Store(0)
		b.modal.ClearFaults()
		b.restart()
		b.ticks(time.Hour)
		require.False(b.t, b.accepts(wrong))
		require.Empty(b.t, b.ledger())
	})
}

func TestApproval_LandsAlthoughModalWasDownAtAnyTime(t *testing.T) {
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
		waiting := b.stands("personal", 0)
		require.Equal(t, model.ApprovalWaiting, waiting.State)
		require.Equal(t, token.ID, waiting.TokenID)
		require.Equal(t, []string{token.ID}, b.ledger(), "it is answered for")
		b.modal.ClearFaults()
		require.Equal(t, model.ApprovalDone, b.stands("personal", 20*time.Second).State)
		require.Empty(t, b.ledger())
	})
}

func TestApproval_ThatDidNotEndLeavesATokenAloneThatWasReplacedSince(t *testing.T) {
	t.Parallel()
	for _, lapsed := range []bool{false, true} {
		inBubble(t, func(b *bubble) {
			t := b.t
			b.approved("personal")
			a := b.begin(model.ApprovalRequest{Role: "personal"})
			b.disk.dieAt(8, false) // the write that ends the approval
			token := b.approve(a, b.member)
			b.pass(30 * time.Second)
			require.True(t, b.disk.died())
			require.Equal(t, model.ApprovalWaiting, b.stands("personal", 0).State)
			b.restart()
			require.Equal(t, token.ID, b.current("personal").ID)
			b.rotate(model.RotateRequest{Role: "personal", Supplied: bringing(b.member.NewToken())})
			if lapsed {
				b.pass(time.Hour)
			}
			b.ticks(2 * time.Minute)
			require.Equal(t, 3, b.current("personal").Version, "it does not come back")
			require.True(t, b.accepts(token), "it has its grace period")
			done := b.stands("personal", 0)
			require.Equal(t, model.ApprovalDone, done.State)
			require.Contains(t, done.Reason, "another token has replaced it since")
		})
	}
}

func TestApproval_IsTakenUpByAnotherProcessAndWhilePaused(t *testing.T) {
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

func TestApproval_GoesOnWhenTheRoleWasRotatedByHandAndEndsWithTheRole(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.approved("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.rotate(model.RotateRequest{Role: "personal", Supplied: bringing(b.member.NewToken())})
		token := b.approve(a, b.member)
		require.Equal(t, model.ApprovalDone, b.stands("personal", 15*time.Second).State)
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

func TestApproval_OfARoleThatCannotUseOneIsRefusedBeforeAPersonIsAsked(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		b.managed("ci")
		b.write(model.RoleWrite{Name: "unproven", Kind: to(model.TypeStatic), Supplied: model.Supplied{Token: bringing(b.member.NewToken()).Token}})
		b.write(staticRole("robot", b.workspace.AddServiceUser("robot")))
		for role, why := range map[string]string{
			"ci": "no person approves them", "none": "no role is named none", "unproven": "stored with verify=false", "robot": "a person can approve only a token of their own",
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

// Every write of an approval, from its begin to its end, is where the process dies.
func TestApproval_EveryCutLosesNoTokenAndTheApprovalStillLands(t *testing.T) {
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
					b.disk.dieAt(at, after)
					a, err := b.engine.Approvals.Begin(t.Context(), model.ApprovalRequest{Role: role})
					if err != nil {
						reached = true
						return
					}
					token := b.approve(a, b.member)
					b.pass(30 * time.Second)
					reached = reached || b.disk.died()
					b.restart()
					b.ticks(2 * time.Minute)

					require.Equal(t, model.ApprovalDone, b.stands(role, 0).State, "cut %d, after %t", at, after)
					require.True(t, b.accepts(token))
					b.ticks(25 * time.Hour)
					require.Empty(t, b.ledger(), "cut %d, after %t", at, after)
					require.True(t, b.accepts(token))
				})
			}
			if !reached {
				break
			}
		}
	}
}
