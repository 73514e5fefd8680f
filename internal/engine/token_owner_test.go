// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// takers returns every request that gives a token to a role or to config, with force. Each has prepared what it needs.
func (h *harness) takers() map[string]func(supplied model.Supplied) error {
	h.t.Helper()
	ctx := h.t.Context()
	h.write(model.RoleWrite{Name: "empty", Type: to(model.TypeStatic)})
	h.static("full")
	writing := func(name string) func(model.Supplied) error {
		return func(supplied model.Supplied) error {
			_, err := h.engine.Roles.Write(ctx, model.RoleWrite{Name: name, Type: to(model.TypeStatic), Supplied: supplied, Force: true})
			return err
		}
	}
	return map[string]func(model.Supplied) error{
		"a new role":             writing("new"),
		"a role without a token": writing("empty"),
		"a rotation": func(supplied model.Supplied) error {
			_, err := h.engine.Rotations.Rotate(ctx, model.RotateRequest{Role: "full", Supplied: supplied, Force: true})
			return err
		},
		"config": func(supplied model.Supplied) error {
			_, err := h.engine.Configs.Write(ctx, model.ConfigWrite{Supplied: supplied, Force: true})
			return err
		},
		"config/rotate": func(supplied model.Supplied) error {
			_, err := h.engine.Configs.RotateAdmin(ctx, model.AdminRotation{Supplied: supplied, Force: true})
			return err
		},
	}
}

// replaced returns the token that a rotation of a role replaced, after a change of its revocation.
func (h *harness) replaced(change func(r *model.Revocation) *model.Revocation) modaltest.Token {
	h.t.Helper()
	old := h.static("other")
	h.rotate(model.RotateRequest{Role: "other", Supplied: bringing(h.member.NewToken())})
	entry := *h.revocation(old.ID)
	require.NoError(h.t, h.engine.Mount.Revocations.Put(h.t.Context(), old.ID, change(&entry)))
	return old
}

func TestTokens_OfAnotherOwnerAreRefusedOnEveryPathDespiteForce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		token func(h *harness) modaltest.Token
		says  string
		// roles says that only roles refuse the token. verified says that the refusal needs Modal's answer.
		roles, verified bool
	}{
		"of another role": {func(h *harness) modaltest.Token { return h.static("payroll") }, "already belongs to another role", false, false},
		"of config": {func(h *harness) modaltest.Token {
			cfg, err := h.engine.Configs.Read(h.t.Context())
			require.NoError(h.t, err)
			return modaltest.Token{ID: cfg.Admin.ID, Secret: cfg.Admin.Secret}
		}, "is the admin token in config", true, false},
		"of a lease": {func(h *harness) modaltest.Token {
			h.dynamic("payroll")
			lease := h.lease("payroll")
			return modaltest.Token{ID: lease.Cred.ID, Secret: lease.Cred.Secret}
		}, "belongs to a lease", false, true},
		"whose deletion began": {func(h *harness) modaltest.Token {
			return h.replaced(func(r *model.Revocation) *model.Revocation { r.DeletionStarted = true; return r })
		}, "and the engine deletes it", false, false},
		"that an operator ends": {func(h *harness) modaltest.Token {
			return h.replaced(func(r *model.Revocation) *model.Revocation { return r.WithForce(h.clock()) })
		}, "and the engine deletes it", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			token, takers := test.token(h), h.takers()
			before := h.snapshot()
			for path, take := range takers {
				config := path == "config" || path == "config/rotate"
				if test.roles && config {
					continue
				}
				err := take(bringing(token))
				require.ErrorContains(t, err, test.says, path)
				require.NotContains(t, err.Error(), "payroll", "only lookup and revocations/<id> name the role of a token")
				if !test.verified && !config { // config refuses every unverified token of a mount that knows its workspace
					require.ErrorContains(t, take(unverified(token)), test.says, path)
				}
			}
			h.unchangedSince(before)
		})
	}
}

func TestTokens_ThatAnotherRoleHasUnverifiedGoToWhoVerifiesThem(t *testing.T) {
	t.Parallel()
	for path := range newHarness(t).takers() {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			take, token := h.takers()[path], h.member.NewToken()
			h.write(model.RoleWrite{Name: "unverified", Type: to(model.TypeStatic), Supplied: unverified(token)})
			if path != "config" && path != "config/rotate" {
				require.ErrorContains(t, take(unverified(token)), "already belongs to another role")
			}

			require.NoError(t, take(bringing(token)))

			require.True(t, h.verify("unverified").Accepted)
			require.False(t, h.current("unverified").Verified(), "the token belongs to the owner that verified it first")
			h.deleteRole("unverified")
			require.Nil(t, h.revocation(token.ID))
		})
	}
}

func TestTokens_AnUnverifiedSecretForAQueuedTokenIsRefusedOnEveryPath(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.replaced(func(r *model.Revocation) *model.Revocation { return r })
	wrong := unverified(modaltest.Token{ID: old.ID, Secret: h.member.NewToken().Secret})
	takers := h.takers()
	before := h.snapshot()
	for path, take := range takers {
		if path != "config" && path != "config/rotate" {
			require.ErrorContains(t, take(wrong), "bring it back with verify=true", path)
		}
	}
	h.unchangedSince(before)
	require.NoError(t, takers["a new role"](model.Supplied{Token: &modalapi.Token{ID: old.ID, Secret: old.Secret}}), "the same secret may come back")
	require.True(t, h.current("new").Verified(), "the queue knew the token")
}

func TestRotate_ToItsOwnTokenWhoseDeletionBeganIsRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.replaced(func(r *model.Revocation) *model.Revocation { r.DeletionStarted = true; return r })
	_, err := h.engine.Rotations.Rotate(t.Context(), model.RotateRequest{Role: "other", Supplied: bringing(old), Force: true})
	require.ErrorContains(t, err, "and the engine deletes it")
}
