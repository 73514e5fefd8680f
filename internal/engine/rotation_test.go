// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARotationThatIsAskedForAgainIsAnsweredAlsoWhereOneMoreWouldBeTooMany(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.static("ci")
	var last Supplied
	for range maxPreviousTokens {
		last = bringing(h.member.NewToken())
		h.rotate(RotateRequest{Role: "ci", Supplied: last})
	}
	done, err := h.engine.Rotate(t.Context(), RotateRequest{Role: "ci", Supplied: last})
	require.NoError(t, err)
	require.False(t, done.Changed)
	_, err = h.engine.Rotate(t.Context(), RotateRequest{Role: "ci", Supplied: bringing(h.member.NewToken())})
	require.ErrorContains(t, err, "10 previous tokens")
}
