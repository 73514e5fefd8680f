// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func (run *Run) writeConfig() {
	if run.isRestricted() && run.roll("repair", 2) == 1 {
		run.repairConfig()
		return
	}
	var c Config
	if run.roll("own grace", 4) == 3 {
		c.Grace = ptr(run.drawDuration("grace_period", 10*time.Minute, 0, day))
	}
	switch run.roll("what", 12) {
	case 10, 11:
		c.Pinned = ptr([]string{home, run.workspace.ID(), "initech"}[run.roll("pinned_workspace", 3)])
	case 9:
		c.Verification = ptr(run.drawDuration("verification_interval", time.Hour, day, 0, 3*day))
	case 0:
		c.RequestTimeout = ptr(run.drawDuration("request_timeout", 15*time.Second, 5*time.Second))
	case 1, 2:
		t := run.owner.NewToken()
		c.Admin = &Token{t.ID, t.Secret}
	case 3:
		c.MaxEnvironmentRole = ptr([]string{"viewer", ""}[run.roll("ceiling", 2)])
	case 4:
		c.RemoveAdmin = true
	case 5, 6:
		run.drawServer(&c)
	case 7, 8:
		c.AllowedEnvironments = ptr([]string{"main", "", "staging", "main,staging"}[run.roll("environments", 4)])
	}
	if c.Admin != nil {
		to := run.disk.truth().server
		if c.ServerURL != nil {
			to = *c.ServerURL
		}
		run.oracle.operatorSends(c.Admin.ID, to)
		if c.Force = run.roll("force", 4) > 0; c.Force {
			run.oracle.allowAnyOwner(c.Admin.ID)
		}
		c.Unverified = run.roll("verify=false", 8) == 7
	}
	run.logf("write config: %s", c)
	run.await(run.launch(&operation{what: "write config", grace: c.Grace, config: &c}, func(ctx context.Context, e Engine) error {
		before := run.disk.truth().server
		err := e.WriteConfig(ctx, c)
		if err == nil && c.ServerURL != nil && *c.ServerURL != before && c.Admin != nil {
			run.report.count("another server with its admin token")
		}
		return err
	}))
}

// rotateAdmin supplies another admin token. The engine must refuse some of these tokens.
func (run *Run) rotateAdmin() {
	who := []*modaltest.Member{run.owner, run.owner, run.owner, run.owner, run.colleague, run.colleague, run.otherWorkspaceOwner, run.otherModalOwner}[run.roll("who", 8)]
	t := who.NewToken()
	r := AdminRotation{Token: Token{t.ID, t.Secret}, Force: run.roll("force", 4) == 3}
	if run.roll("taken", 8) == 7 {
		if token, _ := run.oracle.anyKnownToken(run.roll("which", 8)); token != nil {
			r.Token = *token
		}
	}
	if run.roll("own grace", 3) == 2 {
		r.Grace = ptr(run.drawDuration("grace_period", 10*time.Minute, 0, day))
	}
	run.oracle.operatorSends(r.Token.ID, run.configuredServer())
	if r.Force {
		run.oracle.allowAnyOwner(r.Token.ID)
	}
	run.maybePlanCut(3)
	run.logf("rotate admin to %s of %s, force: %t", r.Token.ID, who.Username(), r.Force)
	op := &operation{what: "rotate admin", grace: r.Grace, force: r.Force}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		answer, err := e.RotateAdmin(ctx, r)
		if err == nil && answer.PreviousID != "" && !answer.NotBefore.IsZero() {
			run.oracle.promiseStated(answer.PreviousID, answer.NotBefore.Add(-run.skew(op.node.name)), op)
			run.report.count("config/rotate replaces")
		}
		return err
	}))
}

// isRestricted reports whether config keeps managed roles from working. Without a repair, a run would see little
// else.
func (run *Run) isRestricted() bool {
	t := run.disk.truth()
	expires := !t.admin.Expires.IsZero() && time.Until(t.admin.Expires) < 10*day // settle takes longer than this token lives
	return expires || t.admin.ID == "" || t.admin.Identity != run.owner.Username() || t.server != run.modal.URL() || t.maxRole != "" || len(t.allowed) > 0 || t.paused || t.pinned != ""
}

// repairConfig points config at Modal with a new admin token and without limits.
func (run *Run) repairConfig() {
	t := run.owner.NewToken()
	run.oracle.allowAnyOwner(t.ID)
	c := Config{ServerURL: ptr(run.modal.URL()), CACert: run.caOf(run.modal.URL()), Admin: &Token{t.ID, t.Secret}, MaxEnvironmentRole: ptr(""), AllowedEnvironments: ptr(""), Paused: ptr(false), Pinned: ptr(""), Force: true}
	run.logf("write config: %s", c)
	run.await(run.launch(&operation{what: "write config", config: &c}, func(ctx context.Context, e Engine) error { return e.WriteConfig(ctx, c) }))
}

// switchServer points config at the other server.
func (run *Run) switchServer() {
	server, owner := run.modal, run.owner
	if run.disk.truth().server == run.modal.URL() {
		server, owner = run.otherModal, run.otherModalOwner
	}
	t := owner.NewToken()
	run.oracle.allowAnyOwner(t.ID)
	c := Config{ServerURL: ptr(server.URL()), CACert: run.caOf(server.URL()), Admin: &Token{t.ID, t.Secret}, Force: true}
	run.logf("write config: %s", c)
	run.await(run.launch(&operation{what: "write config", config: &c}, func(ctx context.Context, e Engine) error { return e.WriteConfig(ctx, c) }))
}

// drawServer points config at a server, with or without an admin token of that server. Without a new admin token,
// the engine must not send the stored one there.
func (run *Run) drawServer(c *Config) {
	c.ServerURL = ptr(run.modal.URL())
	owner := run.owner
	if run.conditions.Servers && run.roll("server", 2) == 1 {
		c.ServerURL = ptr(run.otherModal.URL())
		owner = run.otherModalOwner
	}
	c.CACert = run.caOf(*c.ServerURL)
	if run.roll("with its admin", 2) == 1 {
		t := owner.NewToken()
		c.Admin = &Token{t.ID, t.Secret}
	}
}

// resetConfig points config at Modal with a new admin token. It must succeed unless a fault is active.
func (run *Run) resetConfig() {
	t := run.owner.NewToken()
	run.oracle.allowAnyOwner(t.ID)
	c := Config{
		ServerURL: ptr(run.modal.URL()), CACert: run.caOf(run.modal.URL()), Admin: &Token{t.ID, t.Secret}, MaxEnvironmentRole: ptr(""), AllowedEnvironments: ptr(""), Paused: ptr(false),
		Pinned: ptr(""), Force: true, Verification: ptr(day),
	}
	op := run.launch(&operation{what: "write config", callerWaits: true, config: &c}, func(ctx context.Context, e Engine) error { return e.WriteConfig(ctx, c) })
	<-op.done
	if op.err != nil {
		run.fail("config cannot be written without a fault: %v", op.err)
	}
}
