// SPDX-License-Identifier: MPL-2.0

// Package duration formats durations for people.
package duration

import (
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Format formats a duration as people write it: 90d, 24h, 5m, 90s. It rounds durations from a second on to seconds.
func Format(d time.Duration) string {
	switch {
	case d >= 2*day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d >= time.Second:
		d = d.Round(time.Second)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}
