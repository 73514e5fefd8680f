// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// replaced returns a harness whose static role "ci" was rotated, its old token and its new token. The grace
// period of the old token ends an hour later.
func replaced(t *testing.T, opts ...modaltest.TokenOption) (h *harness, old, now modaltest.Token) {
	t.Helper()
	h = newHarness(t)
	old, now = h.member.NewToken(opts...), h.member.NewToken()
	h.write(staticRole("ci", old))
	grace := time.Hour
	h.rotate(model.RotateRequest{Role: "ci", Supplied: bringing(now), Grace: &grace})
	require.Equal(t, model.MethodAutomatic, h.revocation(old.ID).Means())
	return h, old, now
}

func (h *harness) accepts(t modaltest.Token) bool { return h.modal.Accepts(t.ID, t.Secret) }

// callers returns the IDs of the tokens that have called TokenDelete.
func (h *harness) callers() (ids []string) {
	for _, call := range h.modal.Calls("TokenDelete") {
		ids = append(ids, call.TokenID)
	}
	return ids
}

func TestMemberToken_DeletesItselfAfterItsGracePeriod(t *testing.T) {
	t.Parallel()
	h, old, now := replaced(t)
	h.minutes(59)
	require.True(t, h.accepts(old))
	h.minutes(2)
	require.False(t, h.accepts(old))
	require.True(t, h.accepts(now))
	require.Empty(t, h.queueIDs())
	require.Equal(t, []string{old.ID}, h.callers())
	require.Contains(t, h.recorded.lines(), "proof=deleted")
}

// Each answer of Modal to a token that deletes itself has its own consequence.
func TestMemberToken_EachAnswerOfModalHasItsConsequence(t *testing.T) {
	t.Parallel()
	const never = -1
	for name, test := range map[string]struct {
		fault modaltest.Fault
		state string
		means string
		next  time.Duration // the longest wait before the next attempt
	}{
		"unavailable":                  {modaltest.Fault{Code: codes.Unavailable, Times: never}, model.StateRetrying, model.MethodAutomatic, 2 * time.Minute},
		"throttled":                    {modaltest.Fault{Code: codes.ResourceExhausted, Times: never}, model.StateRetrying, model.MethodAutomatic, 2 * time.Minute},
		"forbidden":                    {modaltest.Fault{Code: codes.PermissionDenied, Message: "owners only", Times: never}, model.StateWaiting, model.MethodManual, model.MaxBackOff},
		"invalid":                      {modaltest.Fault{Code: codes.InvalidArgument, Message: "owners only", Times: never}, model.StateWaiting, model.MethodManual, model.MaxBackOff},
		"unknown method":               {modaltest.Fault{Code: codes.Unimplemented, Message: "owners only", Times: never}, model.StateWaiting, model.MethodManual, model.MaxBackOff},
		"unknown without content type": {modaltest.Fault{NoContentType: true, Times: never}, model.StateWaiting, model.MethodManual, model.MaxBackOff},
		"not found but accepted":       {modaltest.Fault{Code: codes.NotFound, Times: never}, model.StateRetrying, model.MethodAutomatic, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, old, _ := replaced(t)
			h.modal.Inject("TokenDelete", test.fault)
			h.advance(time.Hour)
			h.tick()
			entry := h.revocation(old.ID)
			require.Equal(t, test.state, entry.State(h.clock()))
			require.Equal(t, test.means, entry.Means())
			require.LessOrEqual(t, entry.NextAttempt.Sub(h.clock()), test.next)
			require.True(t, h.accepts(old))
			if test.means == model.MethodManual {
				require.Contains(t, h.engine.Revoker.NextStep(t.Context(), entry), "modal workspace member-tokens delete "+old.ID)
				require.Contains(t, h.recorded.events(), model.EventRevokeManual)
			}
			h.modal.ClearFaults()
			h.advance(model.MaxBackOff)
			h.tick()
			require.False(t, h.accepts(old), "the worker must try again")
			require.Empty(t, h.queueIDs())
		})
	}
}

func TestMemberToken_AfterALostAnswerIsRejectedAndNotCalledDeleted(t *testing.T) {
	t.Parallel()
	h, old, _ := replaced(t)
	h.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true})
	h.advance(time.Hour)
	h.tick()
	require.False(t, h.accepts(old))
	require.Empty(t, h.queueIDs())
	require.Contains(t, h.recorded.lines(), "proof=rejected")
}

func TestMemberToken_StillAcceptedAfterItsDeletionIsDeletedAgain(t *testing.T) {
	t.Parallel()
	h, old, _ := replaced(t)
	h.modal.KeepDeletedFor(30 * time.Minute)
	h.advance(time.Hour)
	h.tick()
	require.Equal(t, model.StateUnconfirmed, h.revocation(old.ID).State(h.clock()))
	require.Len(t, h.modal.Calls("TokenDelete"), 1)
	h.minutes(90)
	require.Empty(t, h.queueIDs())
	require.Greater(t, len(h.modal.Calls("TokenDelete")), 1, "Modal may have lost the deletion that it acknowledged")
	require.Contains(t, h.recorded.lines(), "proof=deleted")
}

func TestMemberToken_ThatExpiredIsRejectedAndNotCalledDeleted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	expiring := h.member.NewToken(modaltest.ExpiresAt(start.Add(40 * time.Minute)))
	h.write(staticRole("other", expiring))
	h.rotate(model.RotateRequest{Role: "other", Supplied: bringing(h.member.NewToken())})
	h.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
	h.minutes(62)
	require.Empty(t, h.queueIDs())
	require.Contains(t, h.recorded.lines(), "proof=rejected")
	require.NotContains(t, h.recorded.lines(), "proof=deleted")
}

func TestMemberToken_UnableToDeleteItselfIsDeletedByTheCurrentToken(t *testing.T) {
	t.Parallel()
	h, old, now := replaced(t)
	h.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.PermissionDenied})
	h.advance(time.Hour)
	h.tick()
	require.Equal(t, []string{old.ID, now.ID}, h.callers())
	require.False(t, h.accepts(old))
	require.Empty(t, h.queueIDs())
}

func TestMemberToken_IsDeletedWithTheAdminTokenOnlyByForce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	bob := h.workspace.AddMember("bob")
	old := bob.NewToken()
	h.write(staticRole("ci", old))
	h.rotate(model.RotateRequest{Role: "ci", Force: true, Supplied: bringing(h.member.NewToken())})
	h.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.PermissionDenied, Times: 2})
	h.advance(24 * time.Hour)
	h.tick()
	require.Equal(t, []string{old.ID}, h.callers(), "the current token belongs to another person and must not delete the old one")
	require.Equal(t, model.StateWaiting, h.revocation(old.ID).State(h.clock()))
	ended, err := h.engine.Revocations.End(t.Context(), old.ID, true)
	require.NoError(t, err)
	require.True(t, ended.Revoked)
	require.Equal(t, "deleted", ended.Proof)
	admin, err := h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{old.ID, old.ID, admin.Admin.ID}, h.callers())
}

func TestMemberToken_IsLeftToAnOperatorIfTheRoleOrItsStateSaysSo(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	kept, unverified, deleted := h.member.NewToken(), h.member.NewToken(), h.member.NewToken()
	ask := staticRole("kept", kept)
	ask.RevokePrevious = to(false)
	h.write(ask)
	h.rotate(model.RotateRequest{Role: "kept", Supplied: bringing(h.member.NewToken())})
	h.write(model.RoleWrite{Name: "unverified", Type: to(model.TypeStatic), Supplied: model.Supplied{Token: bringing(unverified).Token}})
	h.rotate(model.RotateRequest{Role: "unverified", Force: true, Supplied: bringing(h.member.NewToken())})
	h.write(staticRole("deleted", deleted))
	_, err := h.engine.Roles.Delete(t.Context(), "deleted", true)
	require.NoError(t, err)
	for _, token := range []modaltest.Token{kept, unverified, deleted} {
		require.Equal(t, model.MethodManual, h.revocation(token.ID).Means())
	}
	h.minutes(26 * 60)
	require.Empty(t, h.callers())
	for _, token := range []modaltest.Token{kept, unverified, deleted} {
		require.True(t, h.accepts(token))
	}
}

func TestMemberToken_ThePreviousIsKeptWhileTheCurrentIsRejected(t *testing.T) {
	t.Parallel()
	h, old, now := replaced(t)
	h.modal.DeleteToken(now.ID)
	h.minutes(90)
	require.True(t, h.accepts(old))
	require.Contains(t, h.revocation(old.ID).LastError, "keeps this previous token")
}

func TestAdminToken_AReplacedDeletesItselfARemovedIsLeftToAnOperator(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	first, err := h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	next := h.member.NewToken()
	done, err := h.engine.Configs.RotateAdmin(t.Context(), model.AdminRotation{Supplied: bringing(next)})
	require.NoError(t, err)
	require.True(t, done.Changed)
	require.Equal(t, first.Admin.ID, done.Previous.ID)
	h.minutes(59)
	require.True(t, h.alive(first.Admin.ID))
	h.minutes(2)
	require.False(t, h.alive(first.Admin.ID))
	again, err := h.engine.Configs.RotateAdmin(t.Context(), model.AdminRotation{Supplied: bringing(next)})
	require.NoError(t, err)
	require.False(t, again.Changed)

	h.configure(model.ConfigWrite{RemoveAdmin: true})
	require.Equal(t, model.StateWaiting, h.revocation(next.ID).State(h.clock()))
	h.minutes(120)
	require.True(t, h.accepts(next))
	h.configure(model.ConfigWrite{Supplied: bringing(next)})
	require.Empty(t, h.queueIDs(), "a token that is the admin token again must leave the queue")
}

func TestAdminToken_ARotationNeedsTheWorkspaceAndManagementRights(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	user := h.workspace.AddMember("bob")
	user.SetRole(modaltest.RoleUser)
	for _, other := range []modaltest.Token{h.modal.AddWorkspace("globex").AddMember("eve").NewToken(), user.NewToken()} {
		before := h.snapshot()
		_, err := h.engine.Configs.RotateAdmin(t.Context(), model.AdminRotation{Supplied: bringing(other)})
		require.ErrorContains(t, err, "force=true")
		require.True(t, model.IsUserError(err))
		h.unchangedSince(before)
		done, err := h.engine.Configs.RotateAdmin(t.Context(), model.AdminRotation{Supplied: bringing(other), Force: true})
		require.NoError(t, err)
		require.True(t, done.Changed)
		h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken()), Force: true})
	}
}

func TestAdminToken_OfAServiceUserOfThisMountIsDeletedAfterwards(t *testing.T) {
	t.Parallel()
	for _, removed := range []bool{false, true} {
		h := newHarness(t)
		old := h.managed("ci")
		secret := h.current("ci").Secret
		h.rotate(model.RotateRequest{Role: "ci"})
		for range 2 { // also a repeated request
			_, err := h.engine.Configs.RotateAdmin(t.Context(), model.AdminRotation{Supplied: bringing(modaltest.Token{ID: old, Secret: secret}), Force: true})
			require.NoError(t, err)
		}
		if removed {
			h.configure(model.ConfigWrite{RemoveAdmin: true})
		}
		h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})
		h.advance(2 * time.Hour)
		h.tick()
		require.False(t, h.modal.Accepts(old, secret))
		require.Len(t, h.modal.ServiceUsers(), 1)
	}
}

func TestMemberToken_IsNotDeletedByACurrentTokenOfAnUnknownOwner(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.static("ci")
	grace := time.Hour
	h.rotate(model.RotateRequest{Role: "ci", Grace: &grace, Supplied: model.Supplied{Token: bringing(h.member.NewToken()).Token}})
	h.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.PermissionDenied})
	h.advance(grace)
	h.tick()
	require.Equal(t, []string{old.ID}, h.callers(), "nobody knows whether the unverified token belongs to the same person")
	require.Equal(t, model.StateWaiting, h.revocation(old.ID).State(h.clock()))
}

func TestMemberToken_OfAnotherWorkspaceIsNotDeletedWithTheAdminToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.modal.AddWorkspace("other").AddMember("bob").NewToken()
	h.write(staticRole("ci", old))
	h.deleteRole("ci")
	h.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
	_, err := h.engine.Revocations.End(t.Context(), old.ID, true)
	require.NoError(t, err)
	require.Equal(t, []string{old.ID}, h.callers())
	require.Equal(t, model.StateWaiting, h.revocation(old.ID).State(h.clock()))
}

func TestMemberToken_ThatModalDidNotLetItDeleteIsRetriedAfterAnOutageToo(t *testing.T) {
	t.Parallel()
	h, old, _ := replaced(t)
	h.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
	h.advance(time.Hour)
	h.tick()
	require.Equal(t, model.StateWaiting, h.revocation(old.ID).State(h.clock()))
	h.modal.ClearFaults()
	h.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	h.advance(model.MaxBackOff)
	h.tick()
	require.Equal(t, model.StateRetrying, h.revocation(old.ID).State(h.clock()), "the refusal is over, and no person has to act")
	require.Less(t, h.revocation(old.ID).NextAttempt.Sub(h.clock()), time.Hour)
}

func TestMemberToken_EachNewRefusalIsToldOnce(t *testing.T) {
	t.Parallel()
	h, old, _ := replaced(t)
	h.advance(time.Hour)
	for told, fault := range []modaltest.Fault{
		{Code: codes.Unavailable, Times: -1},
		{Code: codes.PermissionDenied, Message: "members only", Times: -1},
		{Code: codes.PermissionDenied, Message: "owners only", Times: -1},
	} {
		h.modal.ClearFaults()
		h.modal.Inject("TokenDelete", fault)
		for range 3 {
			h.tick()
			h.advance(model.MaxBackOff)
		}
		require.Equal(t, told, count(h.recorded.events(), model.EventRevokeManual), fault.Message)
		require.Equal(t, told, strings.Count(h.recorded.lines(), "a person has to delete the token"), fault.Message)
	}
	require.True(t, h.accepts(old))
}
