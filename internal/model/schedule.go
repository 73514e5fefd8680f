// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"strings"
	"time"

	vaultrotation "github.com/hashicorp/vault/sdk/rotation"
	"github.com/robfig/cron/v3"
)

// jitterShare is how much of a waiting time jitter may take: a twentieth.
const jitterShare = 20

// ParseScheduleField reads a five-field cron expression, in UTC.
func ParseScheduleField(text string) (*cron.SpecSchedule, error) {
	schedule, mistake := ParseSchedule(text)
	if mistake != "" {
		return nil, UserErrorf("rotation_schedule: %s; nothing was changed", mistake)
	}
	return schedule, nil
}

// ParseSchedule says what is wrong with a schedule, without repeating it.
func ParseSchedule(text string) (schedule *cron.SpecSchedule, mistake string) {
	if strings.Contains(text, "TZ=") {
		return nil, "leave the time zone out, schedules are in UTC"
	}
	schedule, err := vaultrotation.DefaultScheduler.Parse(text)
	if err != nil {
		return nil, scheduleMistake(text)
	}
	if schedule.Next(time.Unix(0, 0).UTC()).IsZero() {
		return nil, "this never fires: check day and month"
	}
	return schedule, ""
}

// cronFields are the fields of a schedule and what they take.
var cronFields = []struct{ name, takes string }{
	{"minute", "0 to 59"},
	{"hour", "0 to 23"},
	{"day of the month", "1 to 31"},
	{"month", "1 to 12 or JAN to DEC"},
	{"day of the week", "0 to 6 or SUN to SAT, where 0 is Sunday"},
}

// scheduleMistake says which field of a schedule is wrong.
func scheduleMistake(text string) string {
	fields := strings.Fields(text)
	if len(fields) != len(cronFields) {
		return fmt.Sprintf(`write five fields of cron, as in "30 3 * * SAT": this has %d`, len(fields))
	}
	for i, field := range cronFields {
		alone := strings.Fields("* * * * *")
		alone[i] = fields[i]
		if _, err := vaultrotation.DefaultScheduler.Parse(strings.Join(alone, " ")); err != nil {
			return fmt.Sprintf("field %d, the %s, takes %s, with *, lists, ranges and steps", i+1, field.name, field.takes)
		}
	}
	return `this is no schedule of cron: write five fields, as in "30 3 * * SAT"`
}

// firings are the next times that a schedule fires after a moment.
func firings(schedule *cron.SpecSchedule, after time.Time, count int) []time.Time {
	times := make([]time.Time, 0, count)
	for range count {
		after = schedule.Next(after.UTC())
		times = append(times, after)
	}
	return times
}

// Period is the nominal time between rotations, for consumers. It moves only when the token does.
func (r *Role) Period(lastRotation time.Time) time.Duration {
	if r.Managed == nil || r.Managed.Schedule == "" {
		return r.RotationPeriod
	}
	schedule, err := ParseScheduleField(r.Managed.Schedule)
	if err != nil {
		return r.RotationPeriod // validate lets no such schedule into storage
	}
	next := firings(schedule, lastRotation, 2)
	return next[1].Sub(next[0])
}

// leastHeadStart is what a rotation needs before a token expires: two ticks and the rotation itself.
const leastHeadStart = 3 * time.Minute

// deadline is by when a token has to be replaced, well before it expires: a tenth of its life, at least
// a day where the life allows. Zero for a token that does not expire.
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

// deadline is the one rule of how long before its expiry a token is replaced.
func (c *Credential) deadline() time.Time { return deadline(c.LastRotation, c.LocalExpiry()) }

// NextRotation is when the engine replaces a token that became current at since; zero for never. A period
// counts from then, a schedule from now. It lies a little before the end of the period, or after a firing,
// so that roles of one moment spread, and always before the deadline.
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

// MayBegin says whether a scheduled rotation may begin now: inside the window after a firing where
// there is one. A token that is past its deadline waits for no window.
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

// NextAttempt is when the engine rotates the role by itself; zero for never.
func (r *Rotation) NextAttempt(now time.Time) time.Time {
	switch {
	case r.Role.Managed == nil || r.Role.Managed.Disabled:
		return time.Time{}
	case r.HasImpossibleTimes(now):
		return now
	case r.Rejected: // its consumers have nothing that works
		return Later(Earlier(r.Cred.RejectedSince, now), r.Cred.NextAttempt)
	}
	return Later(r.Next, r.Cred.NextAttempt)
}

// HasImpossibleTimes reports whether the credential has no time for the next rotation, as after a policy that was written
// by half, or whether a node whose clock was ahead dated it: the next rotation lies further ahead than the policy
// allows, or the token's life would be counted from a moment that is still to come.
func (r *Rotation) HasImpossibleTimes(now time.Time) bool {
	return r.Cred.ReceivedInTheFuture(now) || r.Cred.NextRotation.IsZero() || r.Next.After(r.Role.latestRotation(now)) || r.Cred.NextAttempt.After(now.Add(MaxBackOff))
}

// latestRotation is the latest that nextRotation could say now.
func (r *Role) latestRotation(now time.Time) time.Time {
	if schedule, err := ParseScheduleField(r.Managed.Schedule); r.Managed.Schedule != "" && err == nil {
		return schedule.Next(now.UTC()).Add(r.Managed.Window)
	}
	return now.Add(r.RotationPeriod)
}
