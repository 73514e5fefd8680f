// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxNamedRoles is how many roles or tokens one warning names, and how many roles get a warning of their own.
const MaxNamedRoles = 10

// ListNames joins names to a text that is short enough to read.
func ListNames(names []string) string {
	if more := len(names) - MaxNamedRoles; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:MaxNamedRoles], ", "), more)
	}
	return strings.Join(names, ", ")
}

// FormatDuration formats a duration as people write it: 90d, 24h, 5m, 90s.
func FormatDuration(d time.Duration) string {
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
