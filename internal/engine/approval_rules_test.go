// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"fmt"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

func TestApproval_TheReplacedTokenKeepsTheGracePeriodOfTheWrite(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		role  string
		grace *time.Duration
		want  time.Duration
	}{
		"the role's":              {"personal", nil, 2 * time.Hour},
		"a role's approval":       {"personal", new(3 * time.Hour), 3 * time.Hour},
		"none":                    {"personal", new(time.Duration(0)), 0},
		"the admin token's":       {"", nil, time.Hour},
		"an admin token approval": {"", new(3 * time.Hour), 3 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bubble) {
				t := b.t
				if test.role == "" {
					b.approve(b.begin(model.ApprovalRequest{}), b.member)
					require.Equal(t, model.ApprovalDone, b.approvalOf("", 15*time.Second).State)
				} else {
					b.approved(test.role)
					b.write(model.RoleWrite{Name: test.role, GracePeriod: to(2 * time.Hour)})
				}
				a := b.begin(model.ApprovalRequest{Role: test.role, Grace: test.grace})
				b.restart()
				b.ticks(time.Minute)
				b.approve(a, b.member)
				done := b.approvalOf(test.role, 15*time.Second)
				require.Equal(t, model.ApprovalDone, done.State)
				require.Equal(t, test.role != "", count(b.recorded.events(), model.EventRotate) == 2, "each approved token of a role is a rotation")
				old := b.revocation(done.PreviousTokenID)
				require.NotNil(t, old, "a finished approval names the token that it replaced")
				require.Equal(t, test.want, old.NotBefore.Sub(old.Since))
			})
		})
	}
}

func TestApproval_AfterAnUnverifiedTokenOnlyForceAcceptsAToken(t *testing.T) {
	t.Parallel()
	for _, force := range []bool{false, true} {
		t.Run(fmt.Sprintf("force=%t", force), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bubble) {
				t := b.t
				b.approved("personal")
				a := b.begin(model.ApprovalRequest{Role: "personal", Force: force})
				unverified := bringing(b.member.NewToken())
				unverified.Verify = false
				b.rotate(model.RotateRequest{Role: "personal", Supplied: unverified, Force: true})

				token := b.approve(a, b.member)

				ended := b.approvalOf("personal", 15*time.Second)
				b.ticks(2 * time.Minute)
				require.Equal(t, force, b.accepts(token))
				require.Equal(t, force, b.current("personal").ID == token.ID)
				require.Equal(t, force, ended.State == model.ApprovalDone, ended.Reason)
			})
		})
	}
}

func TestApproval_ALateTokenOfTheEarlierFlowIsNotTheNextApprovals(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		first := b.begin(model.ApprovalRequest{Role: "personal"})
		_, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		second := b.begin(model.ApprovalRequest{Role: "personal"})

		late := b.approve(first, b.member)
		b.ticks(2 * time.Minute)

		require.False(t, b.accepts(late))
		waiting := b.approvalOf("personal", 0)
		require.Equal(t, model.ApprovalWaiting, waiting.State)
		require.Empty(t, waiting.TokenID)
		require.Empty(t, waiting.Reason)
		token := b.approve(second, b.member)
		require.Equal(t, model.ApprovalDone, b.approvalOf("personal", 15*time.Second).State)
		require.Equal(t, token.ID, b.current("personal").ID)
	})
}

func TestApproval_ADenialOfTheEarlierFlowDoesNotEndTheNextApproval(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		first := b.begin(model.ApprovalRequest{Role: "personal"})
		b.pass(time.Second) // Modal waits some more seconds before it answers
		_, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		second := b.begin(model.ApprovalRequest{Role: "personal"})

		require.NoError(t, b.modal.DenyFlow(first.FlowID))
		b.ticks(time.Minute)

		require.Equal(t, model.ApprovalWaiting, b.approvalOf("personal", 0).State)
		b.approve(second, b.member)
		require.Equal(t, model.ApprovalDone, b.approvalOf("personal", 15*time.Second).State)
	})
}

func TestApproval_ARefusalFromModalAfterItsEndDoesNotEndThePolling(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		_, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		b.modal.Inject("TokenFlowWait", modaltest.Fault{Code: codes.PermissionDenied, Times: 2})
		b.ticks(5 * time.Minute)
		b.requireDeletesItself(b.approve(a, b.member), "personal")
	})
}

func TestApproval_CancelledAfterTheTokenArrivedEndsTheTokenAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		b.modal.RefuseNewTokensFor(20 * time.Second)
		a := b.begin(model.ApprovalRequest{Role: "personal", LapseAfter: model.MaxLapse})
		token := b.approve(a, b.member)
		b.pass(3 * time.Second)
		require.Equal(t, token.ID, b.approvalOf("personal", 0).TokenID)
		_, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)

		b.ticks(15 * time.Minute)

		require.False(t, b.accepts(token))
		require.Empty(t, b.queueIDs())
		cancelled := b.approvalOf("personal", 0)
		require.Equal(t, model.ApprovalCancelled, cancelled.State)
		require.Contains(t, cancelled.Reason, "token "+token.ID+" was approved anyway")
	})
}

func TestApproval_ARefusedTokenThatCouldNotEndIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.approved("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal", LapseAfter: model.MaxLapse})
		b.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
		wrong := b.approve(a, b.workspace.AddMember("bob"))
		require.Equal(t, model.ApprovalRefused, b.approvalOf("personal", 30*time.Second).State)
		require.True(t, b.accepts(wrong))
		b.modal.ClearFaults()

		b.ticks(10 * time.Minute)

		require.False(t, b.accepts(wrong))
	})
}

func TestApproval_OfTheSamePersonInAnotherWorkspaceIsRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		current := b.approved("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.modal.Inject("TokenInfoGet", modaltest.Fault{Mangle: func(answer proto.Message) {
			answer.(*pb.TokenInfoGetResponse).SetWorkspaceId("ac-0123456789abcdefghijKL")
		}})

		wrong := b.approve(a, b.member)

		refused := b.approvalOf("personal", 15*time.Second)
		require.Equal(t, model.ApprovalRefused, refused.State)
		require.Equal(t, "ac-0123456789abcdefghijKL", refused.Account.WorkspaceID, "the finished state must name the account")
		require.Equal(t, current.ID, b.current("personal").ID)
		require.False(t, b.accepts(wrong))
	})
}

func TestApproval_NoForceAcceptsATokenOutsideConfigsPinnedWorkspace(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		b.configure(model.ConfigWrite{PinnedWorkspace: to("acme")})
		for _, role := range []string{"personal", ""} {
			wrong := b.approve(b.begin(model.ApprovalRequest{Role: role, Force: true}), b.modal.AddWorkspace("globex"+role).AddMember("eve"))
			refused := b.approvalOf(role, 15*time.Second)
			require.Equal(t, model.ApprovalRefused, refused.State)
			require.Contains(t, refused.Reason, "config's pinned_workspace")
			require.Equal(t, "globex"+role, refused.Account.Workspace, "the finished state must name the account")
			require.False(t, b.accepts(wrong))
		}
	})
}

func TestApproval_WarnsExactlyIfAnyAccountWouldBeAccepted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(b *bubble)
		ask     model.ApprovalRequest
		warns   bool
	}{
		"first admin token":                        {func(*bubble) {}, model.ApprovalRequest{}, true},
		"first admin token, pinned by the write":   {func(*bubble) {}, model.ApprovalRequest{PinnedWorkspace: "acme"}, false},
		"first admin token, pinned by config":      {func(b *bubble) { b.configure(model.ConfigWrite{PinnedWorkspace: to("acme")}) }, model.ApprovalRequest{}, false},
		"next admin token":                         {(*bubble).withAdmin, model.ApprovalRequest{}, false},
		"next admin token, by force":               {(*bubble).withAdmin, model.ApprovalRequest{Force: true}, true},
		"next admin token, by force and pinned":    {(*bubble).withAdmin, model.ApprovalRequest{Force: true, PinnedWorkspace: "acme"}, false},
		"first token of a role":                    {func(b *bubble) { b.withAdmin(); b.empty("personal") }, model.ApprovalRequest{Role: "personal"}, true},
		"next token of a role":                     {func(b *bubble) { b.approved("personal") }, model.ApprovalRequest{Role: "personal"}, false},
		"next token of a role, by force":           {func(b *bubble) { b.approved("personal") }, model.ApprovalRequest{Role: "personal", Force: true}, true},
		"next token of a role, by force in config": {func(b *bubble) { b.approved("personal"); b.configure(model.ConfigWrite{PinnedWorkspace: to("acme")}) }, model.ApprovalRequest{Role: "personal", Force: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bubble) {
				t := b.t
				test.prepare(b)
				begun := count(b.recorded.events(), model.EventApprovalBegin)
				warnings := b.begin(test.ask).Warnings
				require.Equal(t, begun+1, count(b.recorded.events(), model.EventApprovalBegin))
				if !test.warns {
					require.Empty(t, warnings)
					return
				}
				require.Len(t, warnings, 1)
				require.Contains(t, warnings[0], "begin again with pinned_workspace=")
			})
		})
	}
}

func (b *bubble) withAdmin() {
	b.t.Helper()
	b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
}

func TestApproval_AfterAnUnverifiedAdminTokenNeedsForce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{Supplied: unverified(b.member.NewToken())})
		_, err := b.engine.Approvals.Begin(t.Context(), model.ApprovalRequest{})
		require.ErrorContains(t, err, "begin with force=true to accept any workspace")
		require.Empty(t, b.modal.Calls("TokenFlowCreate"))
	})
}
