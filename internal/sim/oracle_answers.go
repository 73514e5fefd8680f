// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"cmp"
	"reflect"
	"time"
)

const (
	shortestTTL = 5 * time.Second
	// afterRotation is how long after the next rotation a consumer should read again.
	afterRotation = 2 * time.Second
	// grain is the tolerance for a ttl in whole seconds, of a read that takes time.
	grain = 2 * time.Second
	// lateCreation is more than Modal's longest delay of a creation.
	lateCreation = 15 * time.Minute
	// lateRotation is how late a rotation of a managed role may be before a read warns.
	lateRotation = 2 * time.Minute
)

// checkAnswer judges the parts of a read beside the token itself. before is the content of storage when the read
// started. The caller knows that the token was the current one.
func (o *oracle) checkAnswer(n *node, role string, got, last *Credentials, before *truth) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	current, policy := t.current[role], t.roles[role]
	same := reflect.DeepEqual(before.current[role], current) && reflect.DeepEqual(before.roles[role], policy) && before.server == t.server
	if got == nil || !same || got.ID != current.ID || o.run.mayLag(n.name) || len(o.run.running()) > 0 {
		return
	}
	now := time.Now().Add(o.run.skew(n.name))
	if server := cmp.Or(current.Server, t.server); got.ServerURL != server {
		o.run.broken("a read of role %s says that the token's server is %q, but it is %q", role, got.ServerURL, server)
	}
	if want := environmentOf(policy); got.Environment != want {
		o.run.broken("a read of role %s says that the environment is %q, but it is %q", role, got.Environment, want)
	}
	if !got.Expires.Equal(current.Expires) {
		o.run.broken("a read of role %s says that the token expires at %s, but storage says %s", role, got.Expires, current.Expires)
	}
	if got.LastRotation.IsZero() || got.Period <= 0 || got.TTL <= 0 {
		o.run.broken("a read of role %s lacks a part of the rotation metadata: %s, %s, %s", role, got.LastRotation, got.Period, got.TTL)
	}
	if (policy.Managed == nil || policy.Managed.Schedule == "") && got.Period != policy.Period {
		o.run.broken("a read of role %s says that rotation_period is %s, but it is %s", role, got.Period, policy.Period)
	}
	if last != nil && (last.Version == got.Version && last.ID == got.ID) != last.LastRotation.Equal(got.LastRotation) {
		o.run.broken("role %s had version %d and now has %d, but last_vault_rotation was %s and is %s", role, last.Version, got.Version, last.LastRotation, got.LastRotation)
	}
	if o.run.clockSpread() == 0 {
		o.checkTTL(role, got, current, policy, now)
	}
	o.checkWarnings(role, got, current, policy, now)
}

// environmentOf returns the environment that readers of a role get.
func environmentOf(policy storedRole) string {
	if policy.Environment != "" || policy.Managed == nil || !policy.Managed.Scoped || len(policy.Managed.Roles) != 1 {
		return policy.Environment
	}
	for only := range policy.Managed.Roles {
		return only
	}
	return ""
}

// checkTTL expects ttl to be the shortest of the refresh interval, the time to the next rotation, and the time to the
// token's end.
func (o *oracle) checkTTL(role string, got *Credentials, current storedToken, policy storedRole, now time.Time) {
	if o.run.conditions.DoneLate && current.Expires.Sub(now).Abs() < lateCreation {
		return // the engine counts the token's life from the creation's answer, which came late
	}
	want := rightTTL(current, policy, now)
	// The engine may have answered just before the next rotation or the token's end.
	if earlier := rightTTL(current, policy, now.Add(-grain)); (got.TTL-want).Abs() > grain && (got.TTL-earlier).Abs() > grain {
		o.run.broken("a read of role %s says ttl %s, but %s is right", role, got.TTL, want)
	}
	if got.TTL < policy.Refresh-grain {
		o.run.report.count("a ttl is shorter than the refresh interval")
	}
}

func rightTTL(current storedToken, policy storedRole, now time.Time) time.Duration {
	ttl := policy.Refresh
	next := current.Next
	if current.NextAttempt.After(next) || !current.Rejected.IsZero() {
		next = current.NextAttempt
	}
	if left := next.Sub(now); left > 0 && !current.Next.IsZero() {
		ttl = min(ttl, left+afterRotation)
	}
	if left := current.Expires.Sub(now); left > 0 {
		ttl = min(ttl, left)
	}
	return max(ttl, shortestTTL)
}

// checkWarnings expects a read to warn about a token that is known to be rejected or expired, and not to warn about a
// healthy one.
func (o *oracle) checkWarnings(role string, got *Credentials, current storedToken, policy storedRole, now time.Time) {
	due := current.Next
	if due.IsZero() {
		due = current.LastRotation.Add(policy.Period)
	}
	expiredBy := func(now time.Time) bool { return !current.Expires.IsZero() && current.Expires.Before(now) }
	mayWarn := expiredBy(now) || !current.Rejected.IsZero() || current.Verified.IsZero() || due.Before(now) || o.run.clockSpread() > 0
	mustWarn := !current.Rejected.IsZero() || (expiredBy(now.Add(-grain)) && o.run.clockSpread() == 0) || (policy.Managed != nil && due.Add(lateRotation+grain).Before(now))
	switch {
	case len(got.Warnings) > 0 && !mayWarn:
		o.run.broken("a read of the healthy role %s has a warning: %v", role, got.Warnings)
	case len(got.Warnings) == 0 && mustWarn:
		o.run.broken("a read of role %s has no warning, but its token is rejected, expired or overdue", role)
	case len(got.Warnings) > 0:
		o.run.report.count("a read warns")
	}
}

// checkLookup judges the answer of a lookup during which nothing else happened.
func (o *oracle) checkLookup(id string, got Lookup, t *truth) {
	o.mu.Lock()
	defer o.mu.Unlock()
	want := Lookup{Kind: "unknown"}
	if revocation, waits := t.revocationOfToken(id); waits {
		want = Lookup{Kind: "previous", Role: revocation.Role, Version: revocation.Version, Revocation: revocation.key}
		if revocation.Leased && (revocation.Reason == "lease" || revocation.Reason == "unfinished") {
			want.Kind = "lease"
		}
		if t.belongsTo(revocation, revocation.Role) {
			want.Description = t.roles[revocation.Role].Description
		}
	}
	for _, role := range t.names() {
		if current := t.current[role]; current.ID == id && !o.isDisplaced(current) {
			want = Lookup{Kind: "current", Role: role, Version: current.Version, Description: t.roles[role].Description}
		}
	}
	if id == t.admin.ID {
		want = Lookup{Kind: "admin"}
	}
	if user, found := o.serviceUserOf(id); found && want.Kind == "unknown" && user.Workspace == home {
		if _, ours := o.others[user.Name]; ours && hasPrefix(user.Name) {
			want.Kind = "orphan"
		}
	}
	if (want.Kind == "orphan" || want.Kind == "unknown") && (got.Warned || o.run.isRestricted() || o.run.conditions.ListLags || o.run.conditions.AdminTrouble) {
		return // Modal did not give a list, or gave an old one, or one of another workspace
	}
	got.Warned = false
	if want.Kind == "orphan" || want.Kind == "unknown" {
		got.Role, got.Description, got.Version, got.Revocation = "", "", 0, ""
	}
	if got != want {
		o.run.broken("a lookup of token %s answers %+v, but %+v is right", id, got, want)
	}
	o.run.report.count("lookup answers " + want.Kind)
}

// checkStatus compares the counts of status with storage.
func (o *oracle) checkStatus(got Status, t *truth) {
	sum := func(prefix string, parts ...string) (sum int64) {
		for _, part := range parts {
			sum += got.Counts[prefix+part]
		}
		return sum
	}
	roles := sum("roles_", "ok", "overdue", "failing", "rejected", "disabled", "unreadable")
	revocations := sum("revocations_", "pending", "leased", "in_grace", "in_use", "ending", "retrying", "unconfirmed", "waiting", "unreadable")
	if all := int64(len(t.roles)); got.Counts["roles"] != all || roles != all {
		o.run.broken("status counts %d roles, and %d by state, but there are %d", got.Counts["roles"], roles, all)
	}
	if all := int64(len(t.revocations)); got.Counts["revocations"] != all || revocations != all {
		o.run.broken("status counts %d revocations, and %d by state, but there are %d", got.Counts["revocations"], revocations, all)
	}
	var rejected int64
	for _, role := range t.names() {
		if !t.current[role].Rejected.IsZero() {
			rejected++
		}
	}
	if got.Counts["roles_rejected"] != rejected {
		o.run.broken("status counts %d roles whose token Modal rejects, but there are %d", got.Counts["roles_rejected"], rejected)
	}
	if got.Paused != t.paused || got.OutOfSync != t.outOfSync {
		o.run.broken("status says paused %t and out of sync %t, but storage says %t and %t", got.Paused, got.OutOfSync, t.paused, t.outOfSync)
	}
}
