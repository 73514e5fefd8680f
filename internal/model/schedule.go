// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"strings"
	"time"

	vaultrotation "github.com/hashicorp/vault/sdk/rotation"
	"github.com/robfig/cron/v3"
)

// jitterShare is the divisor for jitter: jitter takes at most a twentieth of a waiting time.
const jitterShare = 20

// ParseScheduleField parses a role's rotation_schedule: a five-field cron expression in UTC.
func ParseScheduleField(text string) (cron.Schedule, error) {
	schedule, mistake := ParseSchedule(text)
	if mistake != "" {
		return nil, UserErrorf("rotation_schedule: %s; nothing was changed", mistake)
	}
	return schedule, nil
}

// ParseSchedule parses a schedule. If the schedule is wrong, mistake says why, without repeating the text.
func ParseSchedule(text string) (schedule cron.Schedule, mistake string) {
	if strings.Contains(text, "TZ=") {
		return nil, "leave the time zone out: schedules are in UTC"
	}
	schedule, err := vaultrotation.DefaultScheduler.Parse(text)
	if err != nil {
		return nil, scheduleMistake(text)
	}
	if schedule.Next(time.Unix(0, 0).UTC()).IsZero() {
		return nil, "the schedule never fires: check day and month"
	}
	return schedule, ""
}

// cronFields lists the fields of a schedule and the values that they accept.
var cronFields = []struct{ name, takes string }{
	{"minute", "0 to 59"},
	{"hour", "0 to 23"},
	{"day of the month", "1 to 31"},
	{"month", "1 to 12 or JAN to DEC"},
	{"day of the week", "0 to 6 or SUN to SAT, where 0 is Sunday"},
}

// scheduleMistake names the wrong field of a schedule.
func scheduleMistake(text string) string {
	fields := strings.Fields(text)
	if len(fields) != len(cronFields) {
		return fmt.Sprintf(`write five fields, as in "30 3 * * SAT": this schedule has %d`, len(fields))
	}
	for i, field := range cronFields {
		alone := strings.Fields("* * * * *")
		alone[i] = fields[i]
		if _, err := vaultrotation.DefaultScheduler.Parse(strings.Join(alone, " ")); err != nil {
			return fmt.Sprintf("field %d, the %s, takes %s, with *, lists, ranges and steps", i+1, field.name, field.takes)
		}
	}
	return `this is not a cron expression: write five fields, as in "30 3 * * SAT"`
}

// firings returns the next times of a schedule after a moment.
func firings(schedule cron.Schedule, after time.Time, count int) []time.Time {
	times := make([]time.Time, 0, count)
	for range count {
		after = schedule.Next(after.UTC())
		times = append(times, after)
	}
	return times
}

// Period returns the nominal time between rotations, for consumers. It changes only when the token or the policy
// changes.
func (r *Role) Period(lastRotation time.Time) time.Duration {
	if r.Managed == nil || r.Managed.Schedule == "" {
		return r.RotationPeriod
	}
	schedule, err := ParseScheduleField(r.Managed.Schedule)
	if err != nil {
		return r.RotationPeriod // not reached: validate refuses a schedule with a mistake
	}
	next := firings(schedule, lastRotation, 2)
	return next[1].Sub(next[0])
}

// leastHeadStart is the time that a rotation needs before a token expires: two ticks and the rotation itself.
const leastHeadStart = 3 * time.Minute

// deadline returns the time by which a token must be replaced, well before it expires. The head start is a tenth of
// the token's life, and at least a day if the life is two days or more. The deadline is zero for a token that does
// not expire.
func deadline(since, expires time.Time) time.Time {
	if expires.IsZero() {
		return time.Time{}
	}
	life := max(0, expires.Sub(since))
	headStart := min(max(life/10, leastHeadStart), life/2)
	if life >= 2*Day {
		headStart = max(headStart, Day)
	}
	return WholeSeconds(expires.Add(-headStart))
}

// deadline returns the deadline of the current token.
func (c *Credential) deadline() time.Time { return deadline(c.LastRotation, c.LocalExpiry()) }

// NextRotation returns when the engine replaces a token that became current at since, zero for never. A period counts
// from since, a schedule from now. Jitter spreads roles that were created together: the rotation comes a little
// before the end of the period, or a little after the scheduled time. It is never later than the deadline.
func (r *Role) NextRotation(since, now, expires time.Time, jitter Jitter) time.Time {
	if r.Managed == nil || r.Managed.Disabled {
		return time.Time{}
	}
	next := since.Add(r.RotationPeriod - jitter(r.RotationPeriod/jitterShare))
	if schedule, err := ParseScheduleField(r.Managed.Schedule); r.Managed.Schedule != "" && err == nil {
		next = schedule.Next(now.UTC()).Add(jitter(r.Managed.Window / jitterShare))
	}
	if last := deadline(since, expires); !last.IsZero() {
		next = Earlier(next, last)
	}
	return WholeSeconds(next)
}

// MayBegin reports whether a scheduled rotation may begin now. If the role has a window, that is only within the
// window after a scheduled time. A token that Modal rejects, or that is past its deadline, waits for no window.
func (r *Role) MayBegin(cred *Credential, now time.Time) bool {
	if !cred.RejectedSince.IsZero() {
		return true
	}
	if r.Managed.Schedule == "" || r.Managed.Window == 0 {
		return true
	}
	if last := cred.deadline(); !last.IsZero() && !now.Before(last) {
		return true
	}
	schedule, err := ParseScheduleField(r.Managed.Schedule)
	if err != nil {
		return true
	}
	return !schedule.Next(now.Add(-r.Managed.Window)).After(now)
}

// NextAttempt returns when the engine next tries to rotate the role by itself, zero for never.
func (r *Rotation) NextAttempt(now time.Time) time.Time {
	switch {
	case r.Role.Managed == nil || r.Role.Managed.Disabled:
		return time.Time{}
	case r.HasImpossibleTimes(now):
		return now
	case r.Rejected: // the role's consumers have no valid token
		return Later(Earlier(r.Cred.RejectedSince, now), r.Cred.NextAttempt)
	}
	return Later(r.Next, r.Cred.NextAttempt)
}

// latestRotation returns the latest time that NextRotation could return now.
func (r *Role) latestRotation(now time.Time) time.Time {
	if schedule, err := ParseScheduleField(r.Managed.Schedule); r.Managed.Schedule != "" && err == nil {
		return schedule.Next(now.UTC()).Add(r.Managed.Window)
	}
	return now.Add(r.RotationPeriod)
}
