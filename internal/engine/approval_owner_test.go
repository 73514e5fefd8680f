// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
)

// The tests in this file approve a token after the role, or config, that the approval was for has been deleted.

func TestApproval_OfADeletedRoleIsNotUsedByItsSuccessor(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.empty("personal")
		a := b.begin(model.ApprovalRequest{Role: "personal"})
		b.deleteRole("personal")
		b.empty("personal")

		late := b.approve(a, b.member)
		b.ticks(3 * time.Minute)

		require.False(t, b.accepts(late), "the approval ended with its role, so the token must end too")
		_, err := b.engine.Rotations.Credentials(t.Context(), "personal")
		require.ErrorContains(t, err, "no token yet")
		ended, err := b.engine.Approvals.Read(t.Context(), "personal", 0)
		require.NoError(t, err)
		require.Nil(t, ended, "the new role has no approval")
	})
}

func TestApproval_OfTheAdminTokenEndsWhenConfigIsDeleted(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		a := b.begin(model.ApprovalRequest{})
		_, err := b.engine.Configs.Delete(t.Context(), false)
		require.NoError(t, err)
		b.configure(model.ConfigWrite{ServerURL: to(b.modal.URL())})

		late := b.approve(a, b.member)
		b.ticks(3 * time.Minute)

		require.False(t, b.accepts(late))
		cfg, err := b.engine.Configs.Read(t.Context())
		require.NoError(t, err)
		require.Nil(t, cfg.Admin, "the deleted config must not get its token back")
	})
}

func TestApproval_WithForceTakesAnAdminTokenOfAnotherWorkspace(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.approve(b.begin(model.ApprovalRequest{}), b.member)
		require.Equal(t, model.ApprovalDone, b.approvalOf("", 15*time.Second).State)

		next := b.approve(b.begin(model.ApprovalRequest{Force: true}), b.modal.AddWorkspace("globex").AddMember("eve"))

		require.Equal(t, model.ApprovalDone, b.approvalOf("", 15*time.Second).State)
		cfg, err := b.engine.Configs.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, next.ID, cfg.AdminID())
	})
}

func TestApproval_ThatCannotEndKeepsConfigFromBeingDeleted(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]bool{"with a stored config": true, "without a stored config": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bubble) {
				t := b.t
				a := b.begin(model.ApprovalRequest{})
				if !stored {
					require.NoError(t, b.engine.Mount.Config.Delete(t.Context(), ""))
				}
				b.disk.fail("put approval/")

				_, err := b.engine.Configs.Delete(t.Context(), false)

				require.Error(t, err, "a later approval would give the deleted config an admin token")
				cfg, err := b.engine.Configs.Read(t.Context())
				require.NoError(t, err)
				require.Equal(t, stored, cfg != nil)
				b.disk.fail("")
				_, err = b.engine.Configs.Delete(t.Context(), false)
				require.NoError(t, err)
				b.configure(model.ConfigWrite{ServerURL: to(b.modal.URL())})
				late := b.approve(a, b.member)
				b.ticks(3 * time.Minute)
				require.False(t, b.accepts(late))
			})
		})
	}
}
