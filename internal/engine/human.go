// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"strconv"
	"strings"
	"time"
)

// human is a duration as people write it: 90d, 24h, 5m, 90s.
func Human(d time.Duration) string {
	switch {
	case d >= 2*Day && d%Day == 0:
		return strconv.FormatInt(int64(d/Day), 10) + "d"
	case d == 0:
		return "0s"
	}
	text := d.Round(time.Second).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}
