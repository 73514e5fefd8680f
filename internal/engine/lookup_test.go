// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

func TestLookup_WaitsAtMostThreeSecondsForModal(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		id := b.managed("ci")
		b.modal.Inject("*", modaltest.Fault{Delay: time.Minute, Times: -1})
		for asked, kind := range map[string]string{id: LookupCurrent, "ak-AAAAAAAAAAAAAAAAAAAAAA": LookupUnknown} {
			began := time.Now()

			found, err := b.engine.Lookups.Find(b.t.Context(), LookupRequest{TokenID: asked})

			require.NoError(b.t, err)
			require.Equal(b.t, kind, found.Kind)
			require.Len(b.t, found.Warnings, 1)
			require.LessOrEqual(b.t, time.Since(began), 3*time.Second)
		}
		b.modal.ClearFaults()
	})
}
