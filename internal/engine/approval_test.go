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

// begin starts an approval. An empty role means the admin token.
func (b *bubble) begin(ask model.ApprovalRequest) *BegunApproval {
	b.t.Helper()
	a, err := b.engine.Approvals.Begin(b.t.Context(), ask)
	require.NoError(b.t, err)
	return a
}

// approve does what a person does in the browser.
func (b *bubble) approve(a *BegunApproval, who *modaltest.Member) modaltest.Token {
	b.t.Helper()
	token, err := b.modal.ApproveFlow(a.FlowID, who)
	require.NoError(b.t, err)
	return token
}

// approvalOf returns an approval once it has ended, and at the latest after the given time.
func (b *bubble) approvalOf(role string, within time.Duration) *model.Approval {
	b.t.Helper()
	a, err := b.engine.Approvals.Read(b.t.Context(), role, within)
	require.NoError(b.t, err)
	require.NotNil(b.t, a)
	return a
}

// empty creates a static role without a token.
func (b *bubble) empty(name string) {
	b.t.Helper()
	b.write(model.RoleWrite{Name: name, Type: to(model.TypeStatic)})
}

// approved creates a static role with a token that alice approved.
func (b *bubble) approved(name string) modaltest.Token {
	b.t.Helper()
	b.empty(name)
	token := b.approve(b.begin(model.ApprovalRequest{Role: name}), b.member)
	require.Equal(b.t, model.ApprovalDone, b.approvalOf(name, 15*time.Second).State)
	return token
}

func (b *bubble) accepts(t modaltest.Token) bool { return b.modal.Accepts(t.ID, t.Secret) }

func TestApproval_CreatesAndRotatesARoleAndTheOldTokenDeletesItself(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		_, err := b.engine.Rotations.Credentials(t.Context(), "personal")
		require.ErrorContains(t, err, "no token yet: an operator approves a token in a browser (vault write -f modal/rotate/personal/approval)")
		first := b.approve(b.begin(model.ApprovalRequest{Role: "personal"}), b.member)
		b.pass(5 * time.Second)

		require.Equal(t, first.ID, b.current("personal").ID, "the role must get the token without another command")
		done := b.approvalOf("personal", 0)
		require.Equal(t, model.ApprovalDone, done.State)
		require.Equal(t, 1, done.Version)
		second := b.approve(b.begin(model.ApprovalRequest{Role: "personal"}), b.member)
		b.pass(5 * time.Second)
		require.Equal(t, second.ID, b.current("personal").ID)
		require.Equal(t, 2, b.current("personal").Version)
		require.True(t, b.accepts(first), "the replaced token must keep its grace period")
		b.ticks(24*time.Hour + 2*time.Minute)

		require.False(t, b.accepts(first))
		require.Empty(t, b.queueIDs())
		require.Contains(t, b.recorded.lines(), "proof=deleted")
		for _, call := range b.modal.Calls("TokenDelete") {
			require.Equal(t, first.ID, call.TokenID, "only the token itself may delete it")
		}
	})
}

func TestApproval_StoresAndReplacesTheAdminToken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		first := b.approve(b.begin(model.ApprovalRequest{}), b.member)
		require.Equal(t, model.ApprovalDone, b.approvalOf("", 15*time.Second).State)
		b.managed("ci")
		bob := b.workspace.AddMember("bob")
		bob.SetRole(modaltest.RoleManager)
		second := b.approve(b.begin(model.ApprovalRequest{}), bob)
		require.Equal(t, model.ApprovalDone, b.approvalOf("", 15*time.Second).State, "only the workspace is pinned, not the person")
		cfg, err := b.engine.Configs.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, second.ID, cfg.Admin.ID)
		require.True(t, b.accepts(first))
		b.ticks(time.Hour + 2*time.Minute)
		require.False(t, b.accepts(first))
		require.Empty(t, b.queueIDs())
		b.rotate(model.RotateRequest{Role: "ci"})
	})
}

func TestApproval_OfAnotherAccountIsRefusedAndItsTokenDeletesItself(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		current := b.approved("personal")
		elsewhere := b.modal.AddWorkspace("globex").AddMember("alice")
		for _, other := range []*modaltest.Member{b.workspace.AddMember("bob"), elsewhere} {
			wrong := b.approve(b.begin(model.ApprovalRequest{Role: "personal"}), other)
			a := b.approvalOf("personal", 15*time.Second)
			require.Equal(t, model.ApprovalRefused, a.State)
			require.Contains(t, a.Reason, `the role's token belongs to user "alice"`)
			require.Contains(t, a.Reason, "it deleted itself")
			require.False(t, b.accepts(wrong))
			require.Empty(t, b.queueIDs())
			require.Equal(t, current.ID, b.current("personal").ID)
		}
		taken := b.approve(b.begin(model.ApprovalRequest{Role: "personal", Force: true}), elsewhere)
		require.Equal(t, model.ApprovalDone, b.approvalOf("personal", 15*time.Second).State)
		require.Equal(t, taken.ID, b.current("personal").ID)
	})
}

func TestApproval_OfAnotherPersonIsNotDeletedWithTheRolesToken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.approved("personal") // an owner's token, which could delete the other token
		forbidden := modaltest.Fault{Code: codes.PermissionDenied, Times: 2, Match: func(c modaltest.Call) bool { return c.TokenID == c.Target }}
		b.modal.Inject("TokenDelete", forbidden)
		wrong := b.approve(b.begin(model.ApprovalRequest{Role: "personal"}), b.workspace.AddMember("bob"))
		require.Contains(t, b.approvalOf("personal", 15*time.Second).Reason, "it is in the revocation queue and deletes itself")
		b.ticks(13 * time.Hour)
		require.False(t, b.accepts(wrong))
		require.Empty(t, b.queueIDs())
		for _, call := range b.modal.Calls("TokenDelete") {
			require.Equal(t, call.Target, call.TokenID)
		}
	})
}

func TestApproval_AdminTokenNeedsTheWorkspaceAndManagementRights(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		user := b.workspace.AddMember("bob")
		user.SetRole(modaltest.RoleUser)
		b.approve(b.begin(model.ApprovalRequest{}), user)
		first := b.approvalOf("", 15*time.Second)
		require.Equal(t, model.ApprovalDone, first.State, "the first admin token may belong to anybody")
		require.Contains(t, first.Reason, "cannot manage service users")
		b.approve(b.begin(model.ApprovalRequest{}), b.member)
		require.Equal(t, model.ApprovalDone, b.approvalOf("", 15*time.Second).State)
		for who, why := range map[*modaltest.Member]string{
			user: "cannot manage service users", b.modal.AddWorkspace("globex").AddMember("eve"): "bring a token of that workspace",
		} {
			wrong := b.approve(b.begin(model.ApprovalRequest{}), who)
			a := b.approvalOf("", 15*time.Second)
			require.Equal(t, model.ApprovalRefused, a.State)
			require.Contains(t, a.Reason, why)
			require.False(t, b.accepts(wrong))
		}
	})
}

func TestApproval_EndsIfDeniedLapsedOrCancelled(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		require.NoError(t, b.modal.DenyFlow(b.begin(model.ApprovalRequest{Role: "personal"}).FlowID))
		denied := b.approvalOf("personal", 15*time.Second)
		require.Equal(t, model.ApprovalRefused, denied.State)
		require.Empty(t, denied.WaitSecret)

		b.begin(model.ApprovalRequest{Role: "personal", LapseAfter: time.Minute})
		_, err := b.engine.Approvals.Begin(t.Context(), model.ApprovalRequest{Role: "personal"})
		require.ErrorContains(t, err, "an approval is running since")
		b.pass(75 * time.Second)
		require.Equal(t, model.ApprovalLapsed, b.approvalOf("personal", 0).State)
		require.False(t, b.approvalOf("personal", 0).Open)

		b.begin(model.ApprovalRequest{Role: "personal"})
		warnings, err := b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		require.Empty(t, warnings)
		require.Equal(t, model.ApprovalCancelled, b.approvalOf("personal", 0).State)
		calls := len(b.modal.Calls("TokenFlowWait"))
		b.pass(time.Hour)
		require.Len(t, b.modal.Calls("TokenFlowWait"), calls, "the engine must ask no more")
		_, err = b.engine.Approvals.Cancel(t.Context(), "personal")
		require.NoError(t, err)
		a, err := b.engine.Approvals.Read(t.Context(), "personal", 0)
		require.NoError(t, err)
		require.Nil(t, a, "an approval that ended must be forgotten after a while")
	})
}
