// SPDX-License-Identifier: MPL-2.0

package model

import (
	"hash/fnv"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// rejectedCheck is how often Modal is asked about a token that it refused.
const rejectedCheck = time.Hour

// checkAhead is how much of an interval is left for the tick that asks: it may be a minute off, and takes most of
// another one.
const checkAhead = 2 * time.Minute

// Verification is what Modal says of a role's current token.
type Verification struct {
	Accepted bool
	// Token is the current one, with what Modal said of it now where it accepts it.
	Token   Token
	Version int
	// Roles are the environment roles of a managed role's service user, nil where they are not known.
	Roles map[string]modalapi.EnvironmentRole
	// Drifted says that they are not those of the role.
	RolesDiffer bool
	// LastUsed is when Modal saw the token used last, before it was verified; zero where Modal does not tell.
	LastUsed time.Time
	// Said is why Modal refuses it, and Next what comes next.
	Reason, NextStep string
	Warnings         []string
}

// CheckAt is when the engine asks about a role's token by itself, zero for never. It lies in the last
// quarter of the interval, so that roles of one moment spread, and soon enough for the tick that asks.
func (c *Config) CheckAt(r *Rotation, now time.Time) time.Time {
	interval := c.VerificationEvery()
	if interval == 0 || r.HasNoToken() {
		return time.Time{}
	}
	if r.Rejected { // a person may have enabled it again
		interval = min(interval, rejectedCheck)
	}
	last := lastKnown(now, r.Cred.LastChecked, r.Cred.LastVerified, r.Cred.LastRotation)
	if last.IsZero() {
		return now
	}
	return last.Add(spread(interval-checkAhead, r.Name))
}

// lastKnown is when a token was last known to work: when it was checked, or before that. It is zero if that has to be
// asked now. A time further ahead than clocks may differ was written by a clock that ran far ahead, and is ignored.
func lastKnown(now, checked time.Time, before ...time.Time) (last time.Time) {
	possible := func(at time.Time) bool { return !at.After(now.Add(ClockSlack)) }
	if !possible(checked) {
		return time.Time{}
	}
	for _, at := range append(before, checked) {
		if possible(at) {
			last = Later(last, at)
		}
	}
	return last
}

// spread is between three quarters of an interval and all of it, always the same for a name.
func spread(interval time.Duration, name string) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name)) // never fails
	return interval - time.Duration(int64(interval/4)/1024*int64(hash.Sum32()%1024))
}

// AdminCheckDue says whether the admin token was not asked about for an interval.
func (c *Config) AdminCheckDue(now time.Time) bool {
	interval := c.VerificationEvery()
	if c.Admin == nil || !c.Admin.Verified() || interval == 0 {
		return false
	}
	if !c.AdminRejected.IsZero() || c.Limitation != "" { // a person may have enabled or promoted it again
		interval = min(interval, rejectedCheck)
	}
	return now.Sub(lastKnown(now, c.AdminChecked, c.Admin.LastVerified)) >= interval-checkAhead
}
