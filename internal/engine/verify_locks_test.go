// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
)

func (h *harness) verifying(role string) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Verifier.Verify(ctx, role)
		return err
	}
}

func TestVerify_OfARoleWaitsForAnotherRequestAboutTheRole(t *testing.T) {
	t.Parallel()
	verifies := func(h *harness) act { return h.verifying("personal") }
	rotates := func(h *harness) act {
		return h.rotating(model.RotateRequest{Role: "personal", Supplied: bringing(h.member.NewToken())})
	}
	ticks := func(h *harness) act { return h.ticking }
	for name, test := range map[string]struct {
		first, second func(h *harness) act
		version       int
	}{
		"the worker, then a rotation": {ticks, rotates, 2},
		"the worker, then a request":  {ticks, verifies, 1},
		"a request, then the worker":  {verifies, ticks, 1},
		"a request, then a rotation":  {verifies, rotates, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.advance(12 * time.Hour)
			token := h.static("personal")
			h.advance(13 * time.Hour)
			h.tick() // verifies the admin token
			h.advance(12 * time.Hour)
			second := test.second(h)
			gate := h.gateAt("TokenInfoGet")
			asks := h.begin(t.Context(), test.first(h))
			gate.await()
			waits := h.begin(t.Context(), second)
			h.awaitLockUsers("personal", 2)

			gate.open()

			asks.succeeds()
			waits.succeeds()
			after := h.current("personal")
			require.Equal(t, test.version, after.Version)
			require.Equal(t, test.version == 1, after.ID == token.ID, "the answer about the old token must not bring it back")
		})
	}
}

func TestVerifyAdmin_LosesNoWriteOfConfigThatComesMeanwhile(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(b *bubble) act{
		"a setting": func(b *bubble) act {
			return func(ctx context.Context) error {
				_, err := b.engine.Configs.Write(ctx, model.ConfigWrite{VerificationInterval: to(48 * time.Hour)})
				return err
			}
		},
		"the next admin token": func(b *bubble) act {
			next := b.member.NewToken()
			return func(ctx context.Context) error {
				_, err := b.engine.Configs.RotateAdmin(ctx, model.AdminRotation{Supplied: bringing(next)})
				return err
			}
		},
		"no config": func(b *bubble) act {
			return func(ctx context.Context) error {
				_, err := b.engine.Configs.Delete(ctx, false)
				return err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bubble) {
				b.withAdmin()
				first, err := b.engine.Configs.Read(b.t.Context())
				require.NoError(b.t, err)
				does := write(b)
				b.pass(25 * time.Hour)
				gate := b.gateAt("TokenInfoGet")
				tick := b.harness.begin(b.t.Context(), b.ticking)
				gate.await()
				writes := b.harness.begin(b.t.Context(), does)
				synctest.Wait()

				gate.open()

				tick.succeeds()
				writes.succeeds()
				after, err := b.engine.Configs.Read(b.t.Context())
				require.NoError(b.t, err)
				switch name {
				case "a setting":
					require.Equal(b.t, 48*time.Hour, after.VerificationEvery())
					require.True(b.t, after.AdminChecked.After(first.AdminChecked), "the answer about the admin token is stored too")
				case "the next admin token":
					require.NotEqual(b.t, first.AdminID(), after.AdminID())
				default:
					require.Nil(b.t, after, "the deleted config does not come back")
				}
			})
		})
	}
}
