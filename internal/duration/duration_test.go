// SPDX-License-Identifier: MPL-2.0

package duration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFormat_WritesDurationsAsPeopleDo(t *testing.T) {
	t.Parallel()
	for text, d := range map[string]time.Duration{
		"0s": 0, "5s": 5 * time.Second, "1m30s": 90 * time.Second, "5m": 5 * time.Minute, "1h": time.Hour, "24h": day, "36h": 36 * time.Hour,
		"90d": 90 * day, "3650d": 3650 * day, "1h5m": 65 * time.Minute, "10h": 10 * time.Hour, "20m": 20 * time.Minute,
	} {
		require.Equal(t, text, Format(d))
	}
}
