// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// shortLived creates a managed role whose tokens live for an hour, and returns the warnings.
func (h *harness) shortLived(name string) []string {
	h.t.Helper()
	ask := managedRole(name, map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer})
	ask.Managed.TokenTTL, ask.RotationPeriod, ask.GracePeriod = to(time.Hour), to(10*time.Hour), to(time.Hour)
	done, err := h.engine.Roles.Write(h.t.Context(), ask)
	require.NoError(h.t, err)
	return done.Warnings
}

// works reports whether Modal accepts a role's current token.
func (h *harness) works(name string) bool {
	h.t.Helper()
	cred := h.current(name)
	return h.modal.Accepts(cred.ID, cred.Secret)
}

func TestClock_AWrongClockReturnsNoExpiredTokenAndRotatesNoSooner(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{
		"30 minutes behind": -30 * time.Minute, "30 minutes ahead": 30 * time.Minute, "3 hours ahead": 3 * time.Hour, "40 days behind": -40 * model.Day, "right": 0,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.ahead.Store(int64(ahead))
			warnings := h.shortLived("ci")
			for minute := range 6 * 60 {
				h.minutes(1)
				require.True(t, h.works("ci"), "minute %d", minute)
			}
			require.LessOrEqual(t, h.current("ci").Version, 8, "the role must rotate a tenth of the token's lifetime before its expiry")
			require.Equal(t, ahead != 0, strings.Contains(strings.Join(warnings, " "), "this node's clock is"))
			require.Equal(t, ahead != 0, strings.Contains(h.recorded.lines(), "this node's clock differs from modal's"))
		})
	}
}

func TestClock_AWrongClockDoesNotWarnAboutTheRequestedLifetime(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.ahead.Store(int64(-30 * time.Minute))
	for _, warning := range h.shortLived("ci") {
		require.NotContains(t, warning, "token_ttl 1h was asked for")
	}
	require.Equal(t, h.clock().Add(time.Hour), h.current("ci").ExpiresAt, "expires_at must be Modal's value")
}

func TestClock_AfterItsCorrectionNoExpiredTokenIsReturned(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.ahead.Store(int64(3 * time.Hour))
	ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer})
	ask.Managed.TokenTTL, ask.RotationPeriod = to(10*time.Hour), to(20*time.Hour)
	h.write(ask)
	h.ahead.Store(0)
	for minute := range 24 * 60 {
		h.minutes(1)
		require.True(t, h.works("ci"), "minute %d", minute)
	}
}

func TestClock_AnImportedTokenUsesModalsExpiry(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.ahead.Store(int64(30 * time.Minute))
	token := h.member.NewToken(modaltest.ExpiresAt(h.clock().Add(20 * time.Minute)))
	h.write(staticRole("ci", token))
	answer, err := h.engine.Rotations.Credentials(t.Context(), "ci")
	require.NoError(t, err)
	require.Contains(t, answer.Warnings(h.engine.Mount.Now())[0], "expired on")
}

func TestClock_AnApprovedTokenUsesTheNodesClock(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"behind": -30 * time.Minute, "ahead": 3 * time.Hour, "right": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bubble) {
				t := b.t
				b.empty("ci")
				b.ahead.Store(int64(ahead))
				a := b.begin(model.ApprovalRequest{Role: "ci", TokenTTL: 2 * time.Hour})
				b.pass(5 * time.Minute)
				approved := time.Now()
				b.approve(a, b.member)
				require.Equal(t, model.ApprovalDone, b.approvalOf("ci", 15*time.Second).State)
				cred := b.current("ci")
				require.WithinDuration(t, approved.Add(2*time.Hour), cred.ExpiresAt, 2*time.Second)
				require.WithinDuration(t, approved.Add(2*time.Hour+ahead), cred.LocalExpiry(), 30*time.Second)
				require.Equal(t, ahead != 0, strings.Contains(b.recorded.lines(), "this node's clock differs from modal's"))
			})
		})
	}
}

func TestClock_ALeaseUsesTheNodesClock(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.ahead.Store(int64(3 * time.Hour))
	h.dynamic("job")
	lease, err := h.engine.Leases.Create(t.Context(), LeaseRequest{Role: "job", VaultMax: 32 * model.Day})
	require.NoError(t, err)
	require.Empty(t, lease.Warnings)
	require.Equal(t, model.Day, lease.Max)
	require.WithinDuration(t, h.engine.Mount.Now().Add(model.Day+leaseMargin), lease.Expires, time.Minute)
}

func TestMint_ATokenThatExpiresBeforeItsCreationIsDeleted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.modal.Inject("ServiceUserCreate", modaltest.Fault{Mangle: func(answer proto.Message) {
		answer.(*pb.ServiceUserCreateResponse).SetExpiresAt(timestamppb.New(h.clock().Add(-time.Hour)))
	}})
	_, err := h.engine.Roles.Write(t.Context(), managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}))
	require.ErrorContains(t, err, "expired at 2026-03-01T11:00:00Z, before Modal created it")
	require.True(t, model.IsUpstream(err))
}

func TestAdminToken_ApprovedUnderAWrongClockExpiresByTheNodesClock(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"behind": -30 * time.Minute, "ahead": 3 * time.Hour, "right": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bubble) {
				t := b.t
				b.ahead.Store(int64(ahead))
				a := b.begin(model.ApprovalRequest{TokenTTL: 30*model.Day + 2*time.Hour})
				b.approve(a, b.member)
				require.Equal(t, model.ApprovalDone, b.approvalOf("", 15*time.Second).State)
				cfg, err := b.engine.Configs.Read(t.Context())
				require.NoError(t, err)
				expires := cfg.Admin.ExpiresAt.Add(ahead)
				require.WithinDuration(t, expires, cfg.Admin.LocalExpiry(), 30*time.Second)
				require.Empty(t, b.engine.Mount.AdminExpiryWarning(cfg))
				b.pass(2*time.Hour + time.Minute)
				require.Contains(t, b.engine.Mount.AdminExpiryWarning(cfg), "write a new admin token before then")
				require.Equal(t, model.AdminOK, cfg.State(cfg.Admin.LocalExpiry().Add(-time.Second)))
				require.Equal(t, model.AdminExpired, cfg.State(cfg.Admin.LocalExpiry()))
				old := cfg.AdminRevocation(model.DefaultConfig, cfg.Admin.LocalExpiry().Add(-time.Minute), nil)
				require.False(t, old.NotBefore.After(cfg.Admin.LocalExpiry()))
				b.pass(30*model.Day - 2*time.Minute)
				require.NotContains(t, b.engine.Mount.AdminExpiryWarning(cfg), "expired on")
				b.pass(2 * time.Minute)
				require.Contains(t, b.engine.Mount.AdminExpiryWarning(cfg), "expired on")
			})
		})
	}
}

func TestVerifyAdmin_ForgetsTheOffsetOfAClockThatWasSetRight(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{VerificationInterval: to(time.Hour)})
		b.ahead.Store(int64(3 * model.Day))
		b.approve(b.begin(model.ApprovalRequest{TokenTTL: 10 * model.Day}), b.member)
		require.Equal(t, model.ApprovalDone, b.approvalOf("", 15*time.Second).State)
		b.ahead.Store(0)

		b.ticks(70 * time.Minute)

		cfg, err := b.engine.Configs.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, cfg.Admin.ExpiresAt, cfg.Admin.LocalExpiry())
	})
}
