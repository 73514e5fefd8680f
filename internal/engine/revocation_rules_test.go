// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
)

func TestRevocation_ForcedOfACreationWhoseAnswerWasLostEndsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true, Times: -1})
	h.modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	_, err := h.engine.Roles.Write(t.Context(), managedRole("ci", viewer))
	require.Error(t, err)
	h.modal.ClearFaults()
	require.Len(t, h.queueIDs(), 1)
	require.Empty(t, h.revocation(h.queueIDs()[0]).ID, "the token never arrived")

	_, err = h.engine.Revocations.End(t.Context(), h.queueIDs()[0], true)

	require.NoError(t, err)
	require.Empty(t, h.modal.ServiceUsers())
	require.Empty(t, h.queueIDs(), "Modal acknowledged the deletion, and an operator wants the token gone now")
}

func TestRevocation_AnExpiryThatOnlyModalKnowsIsNoDisabledToken(t *testing.T) {
	t.Parallel()
	for name, create := range map[string]func(h *harness) modaltest.Token{
		"a member token": func(h *harness) modaltest.Token { return h.member.NewToken() },
		"a service user": func(h *harness) modaltest.Token { return h.workspace.AddServiceUser("robot") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			first, next := create(h), h.member.NewToken()
			role := staticRole("ci", first)
			role.RevokePrevious = to(false)
			h.write(role)
			h.rotate(model.RotateRequest{Role: "ci", Supplied: bringing(next), Force: true})
			require.Equal(t, model.MethodManual, h.revocation(first.ID).Method)

			h.modal.SetExpiry(first.ID, h.clock().Add(time.Hour))

			h.hours(26)
			require.Nil(t, h.revocation(first.ID), "Modal rejects the token for good, although Modal still lists it")
		})
	}
}

func TestRevocation_PostponedIsLookedAtAgainOnlyWhenItIsDue(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	h.tick()
	entry := *h.revocation(old)
	// Another node stored a failure, and its clock is a little ahead.
	entry.Attempts, entry.LastAttempt, entry.NextAttempt = 1, h.clock().Add(30*time.Second), h.clock().Add(5*time.Hour)
	entry.NotBefore = h.clock()
	require.NoError(t, h.engine.Mount.Revocations.Put(t.Context(), old, &entry))
	leave := h.lockRole("ci")
	begin, cancel := context.WithCancel(t.Context())
	queue := h.begin(t.Context(), func(ctx context.Context) error { return h.engine.Worker.processQueue(ctx, begin) })
	h.awaitLockUsers("ci", 2)
	cancel()
	queue.succeeds()
	leave()
	h.minutes(2)
	lists := len(h.modal.Calls("ServiceUserList"))

	h.minutes(60)

	require.LessOrEqual(t, len(h.modal.Calls("ServiceUserList"))-lists, 1, "a queue without due revocations asks Modal nothing")
	require.True(t, h.alive(old))
	_, _, err := h.engine.Revoker.Process(t.Context(), t.Context(), old, revocation.ByForce)
	require.NoError(t, err)
}
