// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"time"
)

func (l *Life) writeConfig() {
	if l.hampered() && roll(l.rt, "put right", 2) == 1 {
		l.putRight()
		return
	}
	var c Config
	switch roll(l.rt, "what", 9) {
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
	}
	l.note("write config: %s", c)
	l.await(l.begin(&operation{what: "write config"}, func(ctx context.Context, e Engine) error {
		before := l.disk.truth().server
		err := e.WriteConfig(ctx, c)
		if err == nil && c.ServerURL != nil && *c.ServerURL != before && c.Admin != nil {
			l.report.seen("another server with its admin")
		}
		return err
	}))
}

// hampered says that config keeps managed roles from what they do: without an end to that, little else
// would be seen in a life.
func (l *Life) hampered() bool {
	t := l.disk.truth()
	return t.admin == "" || t.server != l.modal.URL() || t.mostRole != "" || len(t.allowed) > 0
}

// putRight points the mount at Modal with a new admin token and without ceilings.
func (l *Life) putRight() {
	t := l.owner.NewToken()
	c := Config{ServerURL: ptr(l.modal.URL()), Admin: &Pair{t.ID, t.Secret}, MaxEnvironmentRole: ptr(""), AllowedEnvironments: ptr("")}
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
	op := l.begin(&operation{what: "write config", stays: true}, func(ctx context.Context, e Engine) error {
		return e.WriteConfig(ctx, Config{ServerURL: ptr(l.modal.URL()), Admin: &Pair{t.ID, t.Secret}, MaxEnvironmentRole: ptr(""), AllowedEnvironments: ptr("")})
	})
	<-op.done
	if op.err != nil {
		l.fail("config cannot be written although nothing is wrong: %v", op.err)
	}
}
