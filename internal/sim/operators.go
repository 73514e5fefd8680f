// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"slices"
	"time"
)

// names are the roles of a life: few, so that they meet.
var names = []string{"ci", "gpu.team", "x"}

func ptr[T any](v T) *T { return &v }

// anyRole is a role's name, nearly always of one that exists.
func (l *Life) anyRole() string {
	if exist := l.disk.truth().names(); len(exist) > 0 && roll(l.rt, "any name", 16) < 15 {
		return exist[roll(l.rt, "role", len(exist))]
	}
	return names[roll(l.rt, "role", len(names))]
}

// newRole is a role's name, nearly always of one that does not exist where there is one left.
func (l *Life) newRole() string {
	free := slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, exists := l.disk.truth().roles[name]; return exists })
	if len(free) > 0 && roll(l.rt, "any name", 8) < 7 {
		return free[roll(l.rt, "role", len(free))]
	}
	return names[roll(l.rt, "role", len(names))]
}

func (l *Life) duration(what string, of ...time.Duration) time.Duration {
	return of[roll(l.rt, what, len(of))]
}

// policy is what an operator may write of a managed role, sensible or not.
func (l *Life) policy() Policy {
	p := Policy{}
	if roll(l.rt, "environments", 2) == 1 {
		p.EnvironmentRoles = ptr([]string{"main=viewer", "main=contributor,staging=viewer", "staging=contributor", "nowhere=viewer"}[roll(l.rt, "environment_roles", 4)])
	}
	if roll(l.rt, "grace", 2) == 1 {
		p.Grace = ptr(l.duration("grace_period", day, time.Hour, 0, 3*day))
	}
	if roll(l.rt, "ttl", 4) == 3 {
		p.TTL = ptr(l.duration("token_ttl", 0, 40*day, 2*day))
	}
	switch roll(l.rt, "period", 4) {
	case 1, 2:
		p.Period = ptr(l.duration("rotation_period", 30*day, 7*day, 2*day))
	case 3:
		p.Schedule = ptr([]string{"0 3 * * 1", "30 4 1,15 * *", ""}[roll(l.rt, "rotation_schedule", 3)])
	}
	if roll(l.rt, "refresh", 4) == 3 {
		p.Refresh = ptr(l.duration("refresh_interval", 5*time.Minute, time.Hour))
	}
	switch roll(l.rt, "disabled", 8) {
	case 6:
		p.Disabled = ptr(true)
	case 7:
		p.Disabled = ptr(false)
	}
	if roll(l.rt, "scoped", 8) == 7 {
		p.Scoped = ptr(roll(l.rt, "scope", 2) == 0)
	}
	return p
}

func (l *Life) createManaged() {
	role, p := l.newRole(), l.policy()
	p.Type = ptr("managed")
	if p.EnvironmentRoles == nil {
		p.EnvironmentRoles = ptr("main=contributor")
	}
	l.note("create managed role %s: %s", role, p)
	l.await(l.begin(&operation{what: "create managed", role: role}, func(ctx context.Context, e Engine) error {
		return e.WriteRole(ctx, role, p)
	}))
}

// freshPair is a member's token, or one that the role must not take.
func (l *Life) freshPair() (pair *Pair, unproven bool) {
	switch roll(l.rt, "whose token", 8) {
	case 5:
		t := l.colleague.NewToken()
		return &Pair{t.ID, t.Secret}, false
	case 6: // one that some role has or had
		if pair := l.oracle.known(roll(l.rt, "which", 8)); pair != nil {
			return pair, false
		}
	case 7:
		t := l.owner.NewToken()
		secret := t.Secret
		if roll(l.rt, "mistyped", 2) == 1 {
			secret = "as-0000000000000000000000"
			l.oracle.excuse(t.ID, "its secret was mistyped")
		}
		return &Pair{t.ID, secret}, true
	}
	t := l.owner.NewToken()
	return &Pair{t.ID, t.Secret}, false
}

func (l *Life) createStatic() {
	role := l.newRole()
	pair, unproven := l.freshPair()
	p := Policy{Type: ptr("static"), Pair: pair, Unproven: unproven}
	l.oracle.bring(pair.ID, l.disk.truth().server)
	if roll(l.rt, "grace", 2) == 1 {
		p.Grace = ptr(l.duration("grace_period", day, time.Hour, 0, 3*day))
	}
	l.note("create static role %s: %s", role, p)
	l.await(l.begin(&operation{what: "create static", role: role}, func(ctx context.Context, e Engine) error {
		return e.WriteRole(ctx, role, p)
	}))
}

func (l *Life) writeRole() {
	role, p := l.anyRole(), l.policy()
	if l.disk.truth().roles[role].Type == "static" {
		p = Policy{Grace: p.Grace, Refresh: p.Refresh, Period: p.Period}
	}
	l.note("write role %s: %s", role, p)
	l.await(l.begin(&operation{what: "write role", role: role}, func(ctx context.Context, e Engine) error {
		return e.WriteRole(ctx, role, p)
	}))
}

func (l *Life) rotate() {
	role := l.anyRole()
	r := Rotation{DryRun: roll(l.rt, "dry run", 16) == 15}
	if roll(l.rt, "own grace", 3) == 2 {
		r.Grace = ptr(l.duration("grace_period", time.Hour, 0, 2*day))
	}
	what := "rotate managed"
	if l.disk.truth().roles[role].Type == "static" {
		what = "rotate static"
		r.Pair, r.Unproven = l.freshPair()
		l.oracle.bring(r.Pair.ID, l.disk.truth().server)
		r.Force = roll(l.rt, "force", 4) == 3
	}
	l.turn(what, role, r)
}

func (l *Life) undo() {
	role := l.anyRole()
	r := Rotation{ToPrevious: true}
	if roll(l.rt, "own grace", 3) == 2 {
		r.Grace = ptr(l.duration("grace_period", time.Hour, 0, 2*day))
	}
	l.turn("undo", role, r)
}

// turn has a role rotate, and holds the engine to what it then names.
func (l *Life) turn(what, role string, r Rotation) {
	grace := "the role's"
	if r.Grace != nil {
		grace = r.Grace.String()
	}
	l.note("%s %s, grace %s", what, role, grace)
	op := &operation{what: what, role: role, grace: r.Grace}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		answer, err := e.Rotate(ctx, role, r)
		if err == nil && answer.PreviousID != "" {
			l.oracle.named(answer.PreviousID, answer.NotBefore.Add(-l.skew(op.node.name)))
		}
		return err
	}))
}

func (l *Life) deleteRole() {
	role, force := l.anyRole(), roll(l.rt, "force", 4) == 3
	l.note("delete role %s, force: %t", role, force)
	l.await(l.begin(&operation{what: "delete role", role: role, force: force}, func(ctx context.Context, e Engine) error {
		return e.DeleteRole(ctx, role, force)
	}))
}

// anyEntry is an entry of the ledger, or one that is not there.
func (l *Life) anyEntry() string {
	entries := l.disk.truth().ledger
	at := roll(l.rt, "entry", len(entries)+1)
	if at == len(entries) {
		return "ak-0000000000000000000000"
	}
	return entries[at].key
}

func (l *Life) retry() {
	id, force := l.anyEntry(), roll(l.rt, "force", 3) == 2
	l.note("retry %s, force: %t", id, force)
	op := &operation{what: "retry", target: id, force: force}
	if force {
		l.oracle.void(id)
	}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		revoked, err := e.Retry(ctx, id, force)
		if err == nil && revoked {
			l.oracle.saidRevoked(id)
		}
		return err
	}))
}

func (l *Life) forget() {
	id, force := l.anyEntry(), roll(l.rt, "force", 2) == 1
	l.note("forget %s, force: %t", id, force)
	if force {
		l.oracle.mayForget(id)
	}
	l.await(l.begin(&operation{what: "forget", target: id, force: force}, func(ctx context.Context, e Engine) error {
		return e.Forget(ctx, id, force)
	}))
}

func (l *Life) writeConfig() {
	var c Config
	switch roll(l.rt, "what", 6) {
	case 0:
		c.RequestTimeout = ptr(l.duration("request_timeout", 15*time.Second, 5*time.Second))
	case 1, 2:
		t := l.owner.NewToken()
		c.Admin = &Pair{t.ID, t.Secret}
	case 3:
		c.MaxEnvironmentRole = ptr([]string{"", "viewer"}[roll(l.rt, "ceiling", 2)])
	case 4:
		c.RemoveAdmin = true
	case 5:
		l.moveTo(&c)
	}
	if c.Admin != nil {
		to := l.disk.truth().server
		if c.ServerURL != nil {
			to = *c.ServerURL
		}
		l.oracle.bring(c.Admin.ID, to)
	}
	l.note("write config: admin %v, removed: %t, ceiling: %t, server: %t", c.Admin != nil, c.RemoveAdmin, c.MaxEnvironmentRole != nil, c.ServerURL != nil)
	l.await(l.begin(&operation{what: "write config"}, func(ctx context.Context, e Engine) error {
		return e.WriteConfig(ctx, c)
	}))
}

// moveTo points the mount at a server, with an admin token of that server or without one, which must
// not let the stored one go there.
func (l *Life) moveTo(c *Config) {
	c.ServerURL = ptr(l.modal.URL())
	owner := l.owner
	if l.climate.Servers && roll(l.rt, "server", 2) == 1 {
		c.ServerURL = ptr(l.elsewhere.URL())
		owner = l.stranger
	}
	if roll(l.rt, "with its admin", 2) == 1 {
		t := owner.NewToken()
		c.Admin = &Pair{t.ID, t.Secret}
	}
}

// configure points the mount at Modal with a new admin token, which works unless something is wrong.
func (l *Life) configure() {
	t := l.owner.NewToken()
	op := l.begin(&operation{what: "write config", stays: true}, func(ctx context.Context, e Engine) error {
		return e.WriteConfig(ctx, Config{ServerURL: ptr(l.modal.URL()), Admin: &Pair{t.ID, t.Secret}, MaxEnvironmentRole: ptr("")})
	})
	<-op.done
	if op.err != nil {
		l.fail("config cannot be written although nothing is wrong: %v", op.err)
	}
}

// reader is a consumer of one role. It keeps what it read.
type reader struct {
	held *Handout
	next time.Time
	// deleted is how often the role had been deleted when it read.
	deleted int
}

// readAll has each consumer read whose time has come, at the standby in turn where there is one.
func (l *Life) readAll() {
	t := l.disk.truth()
	for i, role := range names {
		r := l.readers[role]
		if r == nil {
			r = &reader{}
			l.readers[role] = r
		}
		if time.Now().Before(r.next) {
			continue
		}
		n := l.leader
		if l.standby != nil && (l.begun+i)%2 == 0 {
			n = l.standby
			l.report.seen("read by a standby")
		}
		got, err := n.engine.Read(n.ctx, role)
		if err != nil {
			continue // it keeps what it has, and tries again
		}
		r.next = time.Now().Add(t.roles[role].Refresh)
		l.oracle.read(n.name, role, r, got)
		r.held = got
	}
}
