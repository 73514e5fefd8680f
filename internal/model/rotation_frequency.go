// SPDX-License-Identifier: MPL-2.0

package model

import (
	"time"

	"vault-plugin-secrets-modal/internal/duration"

	"github.com/robfig/cron/v3"
)

// MaxPreviousTokens is how many previous tokens of a role may be valid at a time.
const MaxPreviousTokens = 10

// validateFrequency refuses a policy that replaces tokens faster than consumers read, or faster than previous tokens
// end.
func (r *Role) validateFrequency() error {
	interval, named := r.RotationPeriod, "rotation_period"
	if r.Managed.Schedule != "" {
		schedule, err := ParseScheduleField(r.Managed.Schedule)
		if err != nil {
			return err
		}
		interval, named = ClosestFirings(schedule), "the time between two firings of rotation_schedule,"
	}
	if interval < r.RefreshInterval {
		return UserErrorf("%s %s is shorter than refresh_interval %s: consumers would miss tokens; nothing was changed",
			named, duration.Format(interval), duration.Format(r.RefreshInterval))
	}
	if r.GracePeriod > MaxPreviousTokens*interval {
		return UserErrorf("%s %s and grace_period %s would keep %d previous tokens alive, and %d is the most: rotate less often, "+
			"or write a grace_period of at most %s; nothing was changed", named, duration.Format(interval), duration.Format(r.GracePeriod),
			(r.GracePeriod+interval-1)/interval, MaxPreviousTokens, duration.Format(MaxPreviousTokens*interval))
	}
	return nil
}

// ClosestFirings returns the shortest time between two scheduled times, of the first 5,000 in the nine years from 2024 on.
// Every pattern of hours, weekdays and months repeats well within them.
func ClosestFirings(schedule cron.Schedule) time.Duration {
	const most, longest = 5000, 9 * 366 * Day
	closest := longest
	start := time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)
	at := schedule.Next(start)
	for range most {
		next := schedule.Next(at)
		if next.IsZero() || closest <= time.Minute || next.Sub(start) > longest {
			break
		}
		closest, at = min(closest, next.Sub(at)), next
	}
	return closest
}
