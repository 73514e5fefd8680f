// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// The README names one command for each kind of token that may leak. The engine does the rest within two
// minutes.
func TestLeakedToken_OneCommandRevokesATokenOfEachKind(t *testing.T) {
	t.Parallel()
	now := time.Duration(0)
	approve := func(b *bubble, role string) {
		b.approve(b.begin(model.ApprovalRequest{Role: role, Grace: &now}), b.member)
		require.Equal(b.t, model.ApprovalDone, b.approvalOf(role, 15*time.Second).State)
	}
	kinds := map[string]struct {
		leak    func(b *bubble) modaltest.Token
		command func(b *bubble, leaked modaltest.Token)
	}{
		"current, managed: rotate with grace_period=0": {
			func(b *bubble) modaltest.Token { b.managed("ci"); return tokenOf(b.current("ci")) },
			func(b *bubble, _ modaltest.Token) { b.rotate(model.RotateRequest{Role: "ci", Grace: &now}) },
		},
		"current, static: approve with grace_period=0": {
			func(b *bubble) modaltest.Token { return b.approved("personal") },
			func(b *bubble, _ modaltest.Token) { approve(b, "personal") },
		},
		"current, static: supply the next token with grace_period=0": {
			func(b *bubble) modaltest.Token { return b.static("personal") },
			func(b *bubble, _ modaltest.Token) {
				b.rotate(model.RotateRequest{Role: "personal", Grace: &now, Supplied: bringing(b.member.NewToken())})
			},
		},
		"previous, managed: revocations with force": {
			func(b *bubble) modaltest.Token {
				b.managed("ci")
				old := tokenOf(b.current("ci"))
				b.rotate(model.RotateRequest{Role: "ci"})
				return old
			},
			func(b *bubble, leaked modaltest.Token) { b.end(leaked.ID) },
		},
		"previous, static: revocations with force": {
			func(b *bubble) modaltest.Token {
				old := b.approved("personal")
				b.approve(b.begin(model.ApprovalRequest{Role: "personal"}), b.member)
				require.Equal(b.t, model.ApprovalDone, b.approvalOf("personal", 15*time.Second).State)
				return old
			},
			func(b *bubble, leaked modaltest.Token) { b.end(leaked.ID) },
		},
		"lease: revocations with force": {
			func(b *bubble) modaltest.Token { b.dynamic("job"); return tokenOf(b.lease("job").Cred) },
			func(b *bubble, _ modaltest.Token) { b.end(b.queueIDs()[0]) },
		},
		"admin token: approve with grace_period=0": {
			func(b *bubble) modaltest.Token {
				admin := b.member.NewToken()
				b.configure(model.ConfigWrite{Supplied: bringing(admin)})
				return admin
			},
			func(b *bubble, _ modaltest.Token) { approve(b, "") },
		},
	}
	for name, kind := range kinds {
		inBubble(t, func(b *bubble) {
			b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
			leaked := kind.leak(b)
			require.True(b.t, b.accepts(leaked), name)

			kind.command(b, leaked)
			b.ticks(2 * time.Minute)

			require.False(b.t, b.accepts(leaked), name)
			require.NotContains(b.t, b.queueIDs(), leaked.ID, name)
		})
	}
}

// end is a write to revocations/<id> with force=true.
func (b *bubble) end(id string) {
	b.t.Helper()
	_, err := b.engine.Revocations.End(b.t.Context(), id, true)
	require.NoError(b.t, err)
}

func tokenOf(c *model.Credential) modaltest.Token { return modaltest.Token{ID: c.ID, Secret: c.Secret} }
