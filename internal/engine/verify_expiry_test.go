// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// hourly sets the verification interval to an hour.
func (h *harness) hourly() {
	h.t.Helper()
	h.configure(model.ConfigWrite{VerificationInterval: to(time.Hour)})
}

func TestVerify_AnEarlierExpiryIsStoredAndTheRoleRotatesBeforeIt(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.hourly()
	id := h.managed("ci")
	expires := h.clock().Add(10 * time.Hour)
	h.modal.SetExpiry(id, expires)
	h.minutes(62)
	require.Equal(t, expires, h.current("ci").ExpiresAt)
	require.Equal(t, id, h.current("ci").ID)
	require.Contains(t, h.recorded.lines(), "modal reports another expiry")
	require.Equal(t, expires.Add(-time.Hour), h.current("ci").NextRotation, "the rotation must come a tenth of the token's lifetime before its expiry")
	for range 24 * 60 {
		h.minutes(1)
		require.True(t, h.works("ci"))
	}
	require.Equal(t, 2, h.current("ci").Version)
}

func TestVerify_ALaterExpiryIsStoredAndTheRoleRotatesLater(t *testing.T) {
	t.Parallel()
	for name, expires := range map[string]time.Time{"later": start.Add(200 * model.Day), "never": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			ask := managedRole("ci", viewer)
			ask.Managed.TokenTTL = to(20 * model.Day)
			h.write(ask)
			h.modal.SetExpiry(h.current("ci").ID, expires)
			warnings := h.verify("ci").Warnings
			require.Len(t, warnings, 1)
			require.Contains(t, warnings[0], "Modal says that token "+h.current("ci").ID+" expires")
			require.Equal(t, expires, h.current("ci").ExpiresAt)
			require.True(t, h.current("ci").NextRotation.After(start.Add(80*model.Day)), "the rotation period must decide")
			require.Empty(t, h.verify("ci").Warnings, "once")
		})
	}
}

func TestVerify_AChangedExpiryDoesNotMoveAScheduledRotation(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ask := managedRole("ci", viewer)
	ask.Managed.Schedule = to("0 3 * * *")
	h.write(ask)
	next := h.current("ci").NextRotation
	h.modal.SetExpiry(h.current("ci").ID, start.Add(50*model.Day))
	require.Len(t, h.verify("ci").Warnings, 1)
	require.Equal(t, next, h.current("ci").NextRotation)
	h.modal.SetExpiry(h.current("ci").ID, time.Time{})
	require.Len(t, h.verify("ci").Warnings, 1)
	require.Equal(t, next, h.current("ci").NextRotation)
}

func TestVerify_AnEarlierExpiryShortensTheWaitOfAFailingRole(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.hourly()
	ask := managedRole("ci", viewer)
	ask.RotationPeriod = to(10 * time.Hour)
	h.write(ask)
	h.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Internal, Times: -1})
	h.minutes(18 * 60) // the waits have grown to hours
	for h.current("ci").NextAttempt.Sub(h.clock()) <= 30*time.Minute {
		h.minutes(1) // the next failure sets another wait
	}
	h.modal.ClearFaults()
	cred := h.current("ci")
	h.modal.SetExpiry(cred.ID, h.clock().Add(20*time.Minute))
	h.verify("ci")
	for range 60 {
		h.minutes(1)
		require.True(t, h.works("ci"))
	}
}

func TestVerify_TheExpiryOfAStaticTokenIsStoredWithAWarning(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token := h.static("ci")
	expires := start.Add(40 * model.Day)
	h.modal.SetExpiry(token.ID, expires)
	v := h.verify("ci")
	require.Equal(t, expires, v.Token.ExpiresAt)
	require.Contains(t, v.Warnings[0], "expires on 2026-04-10T12:00:00Z, but the engine had stored that it expires never: replace it before that with: vault write modal/rotate/ci")
	require.Equal(t, expires, h.current("ci").ExpiresAt)
	r, _, err := h.engine.Mount.RotationWithPrevious(t.Context(), "ci")
	require.NoError(t, err)
	require.Equal(t, expires, r.Next, "the next rotation must be the expiry")
}

func TestVerify_AnExpiryMissingInOneAnswerIsKept(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ask := managedRole("ci", viewer)
	ask.Managed.TokenTTL = to(20 * model.Day)
	h.write(ask)
	expires := h.current("ci").ExpiresAt
	h.modal.Inject("TokenInfoGet", modaltest.Fault{Times: -1, Mangle: func(answer proto.Message) { answer.(*pb.TokenInfoGetResponse).ClearExpiresAt() }})
	require.Empty(t, h.verify("ci").Warnings)
	require.Equal(t, expires, h.current("ci").ExpiresAt)
	h.modal.Inject("ServiceUserInfo", modaltest.Fault{Times: -1, Code: codes.Internal})
	h.verify("ci")
	require.Equal(t, expires, h.current("ci").ExpiresAt)
}

func TestVerify_TheNewExpiryOfTheAdminTokenIsStoredAndLogged(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.hourly()
	cfg, err := h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	h.modal.SetExpiry(cfg.Admin.ID, start.Add(6*model.Day))
	h.minutes(62)
	cfg, err = h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, start.Add(6*model.Day), cfg.Admin.ExpiresAt)
	require.Contains(t, h.recorded.lines(), "modal reports another expiry of the admin token")
	require.Contains(t, h.recorded.events(), model.EventExpiryWarning)
	h.modal.SetExpiry(cfg.Admin.ID, time.Time{})
	h.minutes(62)
	cfg, err = h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	require.True(t, cfg.Admin.ExpiresAt.IsZero())
}

func TestVerify_AnUnverifiedTokenIsVerifiedWithinTheInterval(t *testing.T) {
	t.Parallel()
	for name, works := range map[string]bool{"that works": true, "that does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			token := h.member.NewToken(modaltest.ExpiresAt(start.Add(100 * model.Day)))
			ask := staticRole("ci", token)
			ask.Verify = false
			if !works {
				ask.Token = &modalapi.Token{ID: token.ID, Secret: h.member.NewToken().Secret}
			}
			h.write(ask)
			h.minutes(24*60 + 1)
			cred := h.current("ci")
			require.Equal(t, works, cred.Verified())
			if works {
				require.Equal(t, "alice", cred.Identity)
				require.Equal(t, start.Add(100*model.Day), cred.ExpiresAt)
				require.Equal(t, model.StateOK, h.state("ci"))
				return
			}
			require.Equal(t, model.StateRejected, h.state("ci"))
			require.Contains(t, h.recorded.events(), model.EventTokenRejected)
		})
	}
}

func TestVerify_ALeasesTokenSuppliedUnverifiedStaysUnverified(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	ask := model.RoleWrite{Name: "ci", Type: to(model.TypeStatic), Supplied: model.Supplied{Token: &modalapi.Token{ID: lease.Cred.ID, Secret: lease.Cred.Secret}}}
	h.write(ask)
	require.True(t, h.verify("ci").Accepted)
	require.False(t, h.current("ci").Verified(), "an unverified token is no reference for the next token")
}

func TestVerify_ReturnsWhenOthersLastUsedTheToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	h.minutes(90)
	cred, used := h.current("ci"), h.clock()
	require.True(t, h.modal.Use(cred.ID, cred.Secret))
	h.minutes(60)
	require.Equal(t, used, h.verify("ci").LastUsed, "the engine's own verification must not count as a use")
	personal, used := h.static("personal"), h.clock()
	h.minutes(60)
	require.Equal(t, used, h.verify("personal").LastUsed, "last_used_at must be the time of the role's creation")
	require.True(t, h.modal.Use(personal.ID, personal.Secret))
	used = h.clock()
	h.minutes(60)
	require.Equal(t, used, h.verify("personal").LastUsed)
	h.configure(model.ConfigWrite{RemoveAdmin: true})
	require.True(t, h.verify("personal").LastUsed.IsZero(), "without a way to ask, last_used_at must be empty")
}
