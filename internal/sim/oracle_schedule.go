// SPDX-License-Identifier: MPL-2.0

package sim

import "time"

// scheduled are the schedules that operators of a run write.
var scheduled = map[string]func(t time.Time) bool{
	"0 3 * * 1":     func(t time.Time) bool { return t.Weekday() == time.Monday && t.Hour() == 3 && t.Minute() == 0 },
	"30 4 1,15 * *": func(t time.Time) bool { return (t.Day() == 1 || t.Day() == 15) && t.Hour() == 4 && t.Minute() == 30 },
}

// checkWindow expects the engine to rotate a healthy role by itself only within the rotation_window after a scheduled
// time. The caller holds o.mu.
func (o *oracle) checkWindow(role string, policy storedRole, before storedToken) {
	if policy.Managed == nil || policy.Managed.Window == 0 || o.run.clockSpread() > 0 || !before.Expires.IsZero() ||
		time.Since(o.lastRoleWrite[role]) < longestCreation || !o.run.modals.Accepts(before.ID, before.Secret) || o.record(before.ID).excuse != "" {
		return
	}
	for _, op := range o.run.running() {
		if op.what != "tick" {
			return // an operator may rotate at any time
		}
	}
	now := time.Now().UTC()
	for at := now.Truncate(time.Minute); now.Sub(at) <= policy.Managed.Window+longestCreation; at = at.Add(-time.Minute) {
		if scheduled[policy.Managed.Schedule](at) {
			o.run.report.count("a rotation within its window")
			return
		}
	}
	o.run.broken("the engine rotated role %s from token %s outside of the window of %s after each time of %q", role, before.ID, policy.Managed.Window, policy.Managed.Schedule)
}
