// SPDX-License-Identifier: MPL-2.0

package model

import (
	"time"

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
			named, FormatDuration(interval), FormatDuration(r.RefreshInterval))
	}
	if r.GracePeriod > MaxPreviousTokens*interval {
		return UserErrorf("%s %s and grace_period %s would keep %d previous tokens alive, and %d is the most: rotate less often, "+
			"or write a grace_period of at most %s; nothing was changed", named, FormatDuration(interval), FormatDuration(r.GracePeriod),
			(r.GracePeriod+interval-1)/interval, MaxPreviousTokens, FormatDuration(MaxPreviousTokens*interval))
	}
	return nil
}

// ClosestFirings returns the shortest time between two scheduled times.
func ClosestFirings(schedule *cron.SpecSchedule) time.Duration {
	times := timesOfDay(schedule)
	first, last := times[0], times[len(times)-1]
	closest := time.Duration(closestDays(schedule)-1)*Day + Day - last + first
	for i := 1; i < len(times); i++ {
		closest = min(closest, times[i]-times[i-1])
	}
	return closest
}

// timesOfDay returns the times of day at which a schedule fires, sorted.
func timesOfDay(schedule *cron.SpecSchedule) (times []time.Duration) {
	for hour := range 24 {
		for minute := range 60 {
			if schedule.Hour&(1<<hour) != 0 && schedule.Minute&(1<<minute) != 0 {
				times = append(times, time.Duration(hour)*time.Hour+time.Duration(minute)*time.Minute)
			}
		}
	}
	return times
}

// closestDays returns the smallest number of days between two days on which a schedule fires. It looks at 400 such
// days: combinations of day and month repeat well within nine years, and weekdays much sooner.
func closestDays(schedule *cron.SpecSchedule) int {
	const most = 400
	daily := *schedule
	daily.Minute, daily.Hour = 1, 1
	at := time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)
	closest, at := 9*366, daily.Next(at)
	for range most {
		next := daily.Next(at)
		if next.IsZero() || closest == 1 {
			break
		}
		closest, at = min(closest, int(next.Sub(at)/Day)), next
	}
	return closest
}
