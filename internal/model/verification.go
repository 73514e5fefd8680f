// SPDX-License-Identifier: MPL-2.0

package model

import (
	"hash/fnv"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// rejectedCheck is how often the engine asks Modal about a token that Modal rejects.
const rejectedCheck = time.Hour

// checkAhead is how much of an interval is left for the worker: its tick may be a minute late, and takes most of
// another minute.
const checkAhead = 2 * time.Minute

// Verification is Modal's answer about a role's current token.
type Verification struct {
	// Accepted says that Modal accepts the token.
	Accepted bool
	// Token is the current token. If Modal accepts the token, its owner and times come from this verification.
	Token Token
	// Version is the version of the current token.
	Version int
	// Roles holds the environment roles of a managed role's service user. It is nil if they are not known.
	Roles map[string]modalapi.EnvironmentRole
	// RolesDiffer says that Roles are not the environment roles of the role.
	RolesDiffer bool
	// LastUsed is when Modal last saw the token used before this verification. It is zero if Modal does not tell.
	LastUsed time.Time
	// Reason says why Modal rejects the token, and NextStep says what to do.
	Reason, NextStep string
	// Warnings lists what an operator should know although Modal accepts the token.
	Warnings []string
}

// CheckAt returns when the engine next verifies a role's token by itself, zero for never. The time lies in the last
// quarter of the interval, so that the verifications of roles that were created together spread out.
func (c *Config) CheckAt(r *Rotation, now time.Time) time.Time {
	interval := c.VerificationEvery()
	if interval == 0 || r.HasNoToken() {
		return time.Time{}
	}
	if r.Rejected { // a person may have enabled the token again
		interval = min(interval, rejectedCheck)
	}
	last := lastKnown(now, r.Cred.LastChecked, r.Cred.LastVerified, r.Cred.LastRotation)
	if last.IsZero() {
		return now
	}
	return last.Add(spread(interval-checkAhead, r.Name))
}

// spread returns a duration between three quarters of an interval and the whole interval, always the same for a name.
func spread(interval time.Duration, name string) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name)) // never fails
	return interval - time.Duration(int64(interval/4)/1024*int64(hash.Sum32()%1024))
}

// AdminCheckDue reports whether the last verification of the admin token is an interval ago. A rejected or limited
// admin token stops the engine's work, and a person may have enabled the token or promoted its user again. So the engine
// asks about it once an hour, even if the interval is 0.
func (c *Config) AdminCheckDue(now time.Time) bool {
	interval := c.VerificationEvery()
	if hourly := !c.AdminRejected.IsZero() || c.Limitation != ""; hourly && (interval == 0 || interval > rejectedCheck) {
		interval = rejectedCheck
	}
	if c.Admin == nil || !c.Admin.Verified() || interval == 0 {
		return false
	}
	return now.Sub(lastKnown(now, c.AdminChecked, c.Admin.LastVerified)) >= interval-checkAhead
}
