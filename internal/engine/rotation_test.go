// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
)

func TestRotate_ARepeatedRequestIsAnsweredAlsoAtTheTokenLimit(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.static("ci")
	var last model.Supplied
	for range model.MaxPreviousTokens {
		last = bringing(h.member.NewToken())
		h.rotate(model.RotateRequest{Role: "ci", Supplied: last})
	}
	done, err := h.engine.Rotations.Rotate(t.Context(), model.RotateRequest{Role: "ci", Supplied: last})
	require.NoError(t, err)
	require.False(t, done.Changed)
	_, err = h.engine.Rotations.Rotate(t.Context(), model.RotateRequest{Role: "ci", Supplied: bringing(h.member.NewToken())})
	require.ErrorContains(t, err, "10 previous tokens")
}
