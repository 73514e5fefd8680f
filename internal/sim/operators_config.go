// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func (l *Life) writeConfig() {
	if l.hampered() && roll(l.rt, "put right", 2) == 1 {
		l.putRight()
		return
	}
	var c Config
	if roll(l.rt, "own grace", 4) == 3 {
		c.Grace = ptr(l.duration("grace_period", 10*time.Minute, 0, day))
	}
	switch roll(l.rt, "what", 12) {
	case 10, 11:
		c.Pinned = ptr([]string{home, l.workspace.ID(), "initech"}[roll(l.rt, "pinned_workspace", 3)])
	case 9:
		c.Verification = ptr(l.duration("verification_interval", time.Hour, day, 0, 3*day))
	case 0:
		c.RequestTimeout = ptr(l.duration("request_timeout", 15*time.Second, 5*time.Second))
	case 1, 2:
		t := l.owner.NewToken()
		c.Admin = &Pair{t.ID, t.Secret}
	case 3:
		c.MaxEnvironmentRole = ptr([]string{"viewer", ""}[roll(l.rt, "ceiling", 2)])
	case 4:
		c.RemoveAdmin = true
	case 5, 6:
		l.moveTo(&c)
	case 7, 8:
		c.AllowedEnvironments = ptr([]string{"main", "", "staging", "main,staging"}[roll(l.rt, "environments", 4)])
	}
	if c.Admin != nil {
		to := l.disk.truth().server
		if c.ServerURL != nil {
			to = *c.ServerURL
		}
		l.oracle.bring(c.Admin.ID, to)
		if c.Force = roll(l.rt, "force", 4) > 0; c.Force {
			l.oracle.may(c.Admin.ID)
		}
	}
	l.note("write config: %s", c)
	l.await(l.begin(&operation{what: "write config", grace: c.Grace}, func(ctx context.Context, e Engine) error {
		before := l.disk.truth().server
		err := e.WriteConfig(ctx, c)
		if err == nil && c.ServerURL != nil && *c.ServerURL != before && c.Admin != nil {
			l.report.seen("another server with its admin")
		}
		return err
	}))
}

// rotateAdmin brings another admin token, which need not be one that config may take.
func (l *Life) rotateAdmin() {
	who := []*modaltest.Member{l.owner, l.owner, l.owner, l.owner, l.colleague, l.colleague, l.rival, l.stranger}[roll(l.rt, "who", 8)]
	t := who.NewToken()
	r := AdminRotation{Pair: Pair{t.ID, t.Secret}, Force: roll(l.rt, "force", 4) == 3}
	if roll(l.rt, "taken", 8) == 7 {
		if pair, _ := l.oracle.known(roll(l.rt, "which", 8)); pair != nil {
			r.Pair = *pair
		}
	}
	if roll(l.rt, "own grace", 3) == 2 {
		r.Grace = ptr(l.duration("grace_period", 10*time.Minute, 0, day))
	}
	l.oracle.bring(r.Pair.ID, l.goesTo())
	if r.Force {
		l.oracle.may(r.Pair.ID)
	}
	l.cutsHere(3)
	l.note("rotate admin to %s of %s, force: %t", r.Pair.ID, who.Username(), r.Force)
	op := &operation{what: "rotate admin", grace: r.Grace, force: r.Force}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		answer, err := e.RotateAdmin(ctx, r)
		if err == nil && answer.PreviousID != "" && !answer.NotBefore.IsZero() {
			l.oracle.named(answer.PreviousID, answer.NotBefore.Add(-l.skew(op.node.name)))
			l.report.seen("config/rotate replaces")
		}
		return err
	}))
}

// hampered says that config keeps managed roles from what they do: without an end to that, little else
// would be seen in a life.
func (l *Life) hampered() bool {
	t := l.disk.truth()
	expires := !t.admin.Expires.IsZero() && time.Until(t.admin.Expires) < 10*day // it lasts for less than a settling
	return expires || t.admin.ID == "" || t.admin.Identity != l.owner.Username() || t.server != l.modal.URL() || t.mostRole != "" || len(t.allowed) > 0 || t.paused || t.pinned != ""
}

// putRight points the mount at Modal with a new admin token and without ceilings.
func (l *Life) putRight() {
	t := l.owner.NewToken()
	l.oracle.may(t.ID)
	c := Config{ServerURL: ptr(l.modal.URL()), Admin: &Pair{t.ID, t.Secret}, MaxEnvironmentRole: ptr(""), AllowedEnvironments: ptr(""), Paused: ptr(false), Pinned: ptr(""), Force: true}
	l.note("write config: %s", c)
	l.await(l.begin(&operation{what: "write config"}, func(ctx context.Context, e Engine) error { return e.WriteConfig(ctx, c) }))
}

// move points config at the server that it does not point at.
func (l *Life) move() {
	server, owner := l.modal, l.owner
	if l.disk.truth().server == l.modal.URL() {
		server, owner = l.elsewhere, l.stranger
	}
	t := owner.NewToken()
	l.oracle.may(t.ID)
	c := Config{ServerURL: ptr(server.URL()), Admin: &Pair{t.ID, t.Secret}, Force: true}
	l.note("write config: %s", c)
	l.await(l.begin(&operation{what: "write config"}, func(ctx context.Context, e Engine) error { return e.WriteConfig(ctx, c) }))
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
	l.oracle.may(t.ID)
	op := l.begin(&operation{what: "write config", stays: true}, func(ctx context.Context, e Engine) error {
		return e.WriteConfig(ctx, Config{
			ServerURL: ptr(l.modal.URL()), Admin: &Pair{t.ID, t.Secret}, MaxEnvironmentRole: ptr(""), AllowedEnvironments: ptr(""), Paused: ptr(false),
			Pinned: ptr(""), Force: true, Verification: ptr(day),
		})
	})
	<-op.done
	if op.err != nil {
		l.fail("config cannot be written although nothing is wrong: %v", op.err)
	}
}
