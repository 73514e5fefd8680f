// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// requireDeletesItself expects that a token deletes itself within about a minute and that the approval names
// it.
func (b *bubble) requireDeletesItself(late modaltest.Token, role string) {
	b.t.Helper()
	b.ticks(2 * time.Minute)
	require.False(b.t, b.accepts(late))
	require.Empty(b.t, b.queueIDs())
	require.Contains(b.t, b.recorded.lines(), "a token was approved after its approval had ended")
	require.Contains(b.t, b.recorded.lines(), "token_id="+late.ID)
	require.Contains(b.t, b.approvalOf(role, 0).Reason, "token "+late.ID+" of workspace \"acme\" was approved afterwards: it deleted itself")
}

func TestApproval_ATokenApprovedJustAfterACancelDeletesItself(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.pass(time.Second) // Modal waits some more seconds before it answers
		warnings, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		require.Empty(t, warnings)
		require.Equal(t, model.ApprovalCancelled, b.approvalOf("personal", 0).State)
		late := b.approve(a, b.member)
		b.pass(10 * time.Second)
		require.False(t, b.accepts(late), "the call that was still waiting must bring the token, which then deletes itself")
		b.requireDeletesItself(late, "personal")
	}, modaltest.WithFlowAnswersOnce())
}

func TestApproval_ALateTokenThatArrivesAgainKeepsItsRevocation(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal", LapseAfter: time.Minute})
		b.ticks(2 * time.Minute)
		b.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
		late := b.approve(a, b.member)
		b.disk.fail("put approval/") // so the engine does not know afterwards that the token arrived
		b.ticks(time.Minute)
		before := b.revocation(late.ID)
		require.True(t, before.DeletionStarted)
		b.disk.fail("")

		b.ticks(time.Minute)

		require.Contains(t, b.approvalOf("personal", 0).Reason, "token "+late.ID)
		after := b.revocation(late.ID)
		require.Equal(t, before.Since, after.Since)
		require.Greater(t, after.Attempts, before.Attempts, "the attempts go on where they were")
	}, modaltest.WithFlowLifetime(2*time.Hour))
}

func TestApproval_IsPolledForAnHourAfterItsEndAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(b *bubble){
		"cancelled": func(b *bubble) {
			_, err := b.engine.Approvals.Cancel(b.t.Context(), "personal")
			require.NoError(b.t, err)
		},
		"lapsed": func(b *bubble) { b.ticks(2 * time.Minute) },
		"refused": func(b *bubble) {
			b.modal.Inject("TokenFlowWait", modaltest.Fault{Code: codes.PermissionDenied})
			b.pass(15 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bubble) {
				t := b.t
				b.empty("personal")
				a := b.begin(model.ApprovalRequest{Role: "personal", LapseAfter: time.Minute})
				end(b)
				require.Equal(t, name, b.approvalOf("personal", 0).State)
				b.ticks(50 * time.Minute)
				b.restart()
				b.requireDeletesItself(b.approve(a, b.member), "personal")
				b.ticks(30 * time.Minute)
				calls := len(b.modal.Calls("TokenFlowWait"))
				b.ticks(30 * time.Minute)
				require.Len(t, b.modal.Calls("TokenFlowWait"), calls, "after an hour the engine must ask no more")
			}, modaltest.WithFlowLifetime(2*time.Hour))
		})
	}
}

func TestApproval_IsPolledOnceAfterADowntimeLongerThanAnHour(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		_, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		late := b.approve(a, b.member)
		b.pass(5 * time.Hour) // without a tick
		b.requireDeletesItself(late, "personal")
		b.ticks(2 * time.Minute)
		stored, err := b.engine.Mount.Approvals.Get(t.Context(), "personal")
		require.NoError(t, err)
		require.Empty(t, stored.EndedFlows)
	}, modaltest.WithFlowLifetime(model.Day))
}

func TestApproval_IsPolledLongerThanAnHourWhileModalDoesNotAnswer(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		_, err := b.engine.Approvals.Cancel(b.t.Context(), "personal")
		require.NoError(b.t, err)
		b.modal.SetOutage(true)
		b.pass(time.Minute) // a question under way ends
		late := b.approve(a, b.member)
		b.ticks(3 * time.Hour)
		b.modal.SetOutage(false)
		b.requireDeletesItself(late, "personal")
	}, modaltest.WithFlowLifetime(model.Day))
}

func TestApproval_BegunByAFastClockEndsAfterItsWaitingTime(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		b.ahead.Store(int64(40 * model.Day))
		b.begin(model.ApprovalRequest{Role: "personal"})
		b.ahead.Store(0)
		b.restart()
		b.ticks(10 * time.Minute)
		require.Equal(t, model.ApprovalWaiting, b.approvalOf("personal", 0).State)
		b.ticks(10 * time.Minute)
		require.Equal(t, model.ApprovalLapsed, b.approvalOf("personal", 0).State)
	})
}

func TestApproval_EndedByAFastClockIsPolledForAnHourOnly(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.ahead.Store(int64(40 * model.Day))
		_, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		b.ahead.Store(0)
		b.restart()
		b.ticks(50 * time.Minute)
		b.requireDeletesItself(b.approve(a, b.member), "personal")
		b.ticks(20 * time.Minute)
		calls := len(b.modal.Calls("TokenFlowWait"))
		b.ticks(30 * time.Minute)
		require.Len(t, b.modal.Calls("TokenFlowWait"), calls)
	}, modaltest.WithFlowLifetime(2*time.Hour))
}

func TestApproval_ALateTokenIsNeverLost(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(b *bubble){
		"a new approval": func(b *bubble) {
			require.Equal(b.t, model.ApprovalDone, func() string {
				b.approve(b.begin(model.ApprovalRequest{Role: "personal"}), b.member)
				return b.approvalOf("personal", 15*time.Second).State
			}())
		},
		"forgotten": func(b *bubble) {
			_, err := b.engine.Approvals.Cancel(b.t.Context(), "personal")
			require.NoError(b.t, err)
			gone, err := b.engine.Approvals.Read(b.t.Context(), "personal", 0)
			require.NoError(b.t, err)
			require.Nil(b.t, gone)
		},
		"the role is deleted": func(b *bubble) { b.deleteRole("personal") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bubble) {
				t := b.t
				b.empty("personal")
				a := b.begin(model.ApprovalRequest{Role: "personal"})
				_, err := b.engine.Approvals.Cancel(t.Context(), "personal")
				require.NoError(t, err)
				then(b)
				late := b.approve(a, b.member)
				b.ticks(2 * time.Minute)
				require.False(t, b.accepts(late))
				require.Empty(t, b.queueIDs())
				require.Contains(t, b.recorded.lines(), "token_id="+late.ID)
			})
		})
	}
}

func TestApproval_AFlowWithTwoTokensLeavesNoUntrackedToken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		first := b.approve(a, b.member)
		require.Equal(t, model.ApprovalDone, b.approvalOf("personal", 15*time.Second).State)
		b.ticks(2 * time.Minute)
		require.Equal(t, first.ID, b.current("personal").ID)
		require.Empty(t, b.queueIDs(), "the same token again must add no revocation")

		second, err := b.modal.ApproveFlowAgain(a.FlowID, b.member)
		require.NoError(t, err)
		b.requireDeletesItself(second, "personal")
		done := b.approvalOf("personal", 0)
		require.Equal(t, model.ApprovalDone, done.State)
		require.Equal(t, first.ID, done.TokenID)
		require.Equal(t, first.ID, b.current("personal").ID)
		require.True(t, b.accepts(first))
	})
}

func TestApproval_TheNumberThatEndedWithinAnHourIsLimited(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		for range maxEndedFlows {
			b.begin(model.ApprovalRequest{Role: "personal"})
			_, err := b.engine.Approvals.Cancel(t.Context(), "personal")
			require.NoError(t, err)
		}
		_, err := b.engine.Approvals.Begin(t.Context(), model.ApprovalRequest{Role: "personal"})
		require.ErrorContains(t, err, "32 approvals ended in the last hour")
		b.pass(58 * time.Minute)
		b.ticks(4 * time.Minute)
		b.begin(model.ApprovalRequest{Role: "personal"})
	})
}

func TestApproval_AClockFarAheadDoesNotProlongThePolling(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		b.ahead.Store(int64(40 * model.Day))
		b.begin(model.ApprovalRequest{Role: "personal"})
		_, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		b.ahead.Store(0)
		b.restart()
		b.ticks(time.Hour + 3*time.Minute)
		calls := len(b.modal.Calls("TokenFlowWait"))
		b.ticks(time.Hour)
		require.Len(t, b.modal.Calls("TokenFlowWait"), calls)
	})
}

func TestApproval_NoAnswerPromisesATokenThatTheEngineRevokes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.approved("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.disk.crashAt(6, false) // the write that ends the approval, after the token is gone
		wrong := b.approve(a, b.workspace.AddMember("bob"))
		b.pass(15 * time.Second)
		require.True(t, b.disk.crashed())
		require.False(t, b.accepts(wrong))
		approval := b.approvalOf("personal", 0)
		require.Equal(t, model.ApprovalRefused, approval.State)
		require.Equal(t, "begin again with: vault write -f modal/rotate/personal/approval", b.engine.Approvals.NextStep("personal", approval))
		b.restart()
		b.ticks(time.Minute)
		require.False(t, b.approvalOf("personal", 0).Open)
	})
}

func TestApproval_ACurrentTokenIsNotReportedAsDeletingItself(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{Paused: to(true)})
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.disk.fail("delete revocation/")
		token := b.approve(a, b.member)
		b.pass(15 * time.Second)
		require.Equal(t, token.ID, b.current("personal").ID)
		require.Contains(t, b.engine.Revoker.NextStep(t.Context(), b.revocation(token.ID)), "if the token is not in use by ")
		b.disk.fail("")
		b.ticks(time.Minute)
		require.Empty(t, b.queueIDs(), "the token must delete itself although the engine is paused")
		require.Equal(t, model.ApprovalDone, b.approvalOf("personal", 0).State)
	})
}

func TestApproval_WhilePausedSaysWhatWaits(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.approved("personal")
		b.configure(model.ConfigWrite{Paused: to(true)})
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
		b.approve(a, b.workspace.AddMember("bob"))
		refused := b.approvalOf("personal", 30*time.Second)
		require.Equal(t, model.ApprovalRefused, refused.State)
		require.Contains(t, refused.Reason, "it is in the revocation queue and deletes itself; the engine is paused")
	})
}

func TestApproval_ComparesThePinnedWorkspaceByIDOrName(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		for _, written := range []string{"acme", b.workspace.ID()} {
			b.write(model.RoleWrite{Name: "of-" + written[:2], Type: to(model.TypeStatic)})
			for who, state := range map[*modaltest.Member]string{b.modal.AddWorkspace("globex-" + written).AddMember("eve"): model.ApprovalRefused, b.member: model.ApprovalDone} {
				b.approve(b.begin(model.ApprovalRequest{Role: "of-" + written[:2], PinnedWorkspace: written, Force: true}), who)
				require.Equal(t, state, b.approvalOf("of-"+written[:2], 15*time.Second).State)
			}
		}
	})
}

func TestConfig_APinnedNameThatLooksLikeAnIDIsNeverComparedByName(t *testing.T) {
	t.Parallel()
	id := "ac-0123456789abcdefghijKL"
	token := model.Token{ID: "ak-x", LastVerified: start, Workspace: id, WorkspaceID: "ac-other", IdentityType: modalapi.IdentityUser}
	require.False(t, model.NewPin(id).Accepts(token))
	token.WorkspaceID = id
	require.True(t, model.NewPin(id).Accepts(token))
}
