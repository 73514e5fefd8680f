// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"fmt"
	"time"
)

// drawManagedSettings draws the settings that an operator writes for a managed role, sensible or not.
func (run *Run) drawManagedSettings() RoleSettings {
	settings := RoleSettings{}
	if run.roll("environments", 2) == 1 {
		settings.EnvironmentRoles = ptr([]string{"main=viewer", "main=contributor,staging=viewer", "staging=contributor", "main=contributor", "main=viewer,staging=contributor", "nowhere=viewer"}[run.roll("environment_roles", 6)])
	}
	if run.roll("grace", 2) == 1 {
		settings.Grace = ptr(run.drawDuration("grace_period", day, time.Hour, 0, 3*day))
	}
	if run.roll("ttl", 4) == 3 {
		settings.TTL = ptr(run.drawDuration("token_ttl", 0, 40*day, 2*day))
	}
	switch run.roll("period", 4) {
	case 1, 2:
		settings.Period = ptr(run.drawDuration("rotation_period", 30*day, 7*day, 2*day))
	case 3:
		settings.Schedule = ptr([]string{"0 3 * * 1", "30 4 1,15 * *", ""}[run.roll("rotation_schedule", 3)])
		if *settings.Schedule != "" && run.roll("window", 2) == 1 {
			settings.Window = ptr(run.drawDuration("rotation_window", time.Hour, 6*time.Hour, day, 0))
		}
	}
	if run.roll("refresh", 4) == 3 {
		settings.Refresh = ptr(run.drawDuration("refresh_interval", 5*time.Minute, time.Hour))
	}
	switch run.roll("disabled", 8) {
	case 6:
		settings.Disabled = ptr(true)
	case 7:
		settings.Disabled = ptr(false)
	}
	if run.roll("hold", 3) == 2 {
		settings.HoldWhileUsed = ptr(run.drawDuration("hold_while_used", 6*time.Hour, day, 0))
	}
	if run.roll("scoped", 8) == 7 {
		settings.Scoped = ptr(run.roll("scope", 2) == 0)
	}
	settings.Description = run.drawDescription()
	if run.roll("environment", 6) == 5 {
		settings.Environment = ptr([]string{"main", "staging", "", "nowhere"}[run.roll("which environment", 4)])
	}
	return settings
}

// drawDescription draws a description, or nil for a write that keeps it.
func (run *Run) drawDescription() *string {
	if run.roll("describes", 4) < 3 {
		return nil
	}
	return ptr([]string{"owner: the GPU team", "", "ticket 4711"}[run.roll("description", 3)])
}

func (run *Run) createManaged() {
	role, settings := run.newRole(), run.drawManagedSettings()
	settings.Type = ptr("managed")
	if settings.EnvironmentRoles == nil {
		settings.EnvironmentRoles = ptr("main=contributor")
	}
	run.writeSettings("create managed", role, settings)
}

// offer is a token that an operator supplies.
type offer struct {
	token      *Token
	unverified bool
	// madeByMount: the service user's name says that a mount of this engine created it.
	madeByMount bool
	// force: the request says force=true.
	force bool
}

// drawOffer draws a token of a person or a service user, or a token that the role must not accept.
func (run *Run) drawOffer() offer {
	owner := run.owner
	if run.disk.truth().server == run.otherModal.URL() && run.roll("whose server", 2) == 1 {
		owner = run.otherModalOwner
	}
	if token := run.unverifiedToken(); token != nil && run.roll("a role's unverified token", 4) == 3 {
		return offer{token: token}
	}
	switch run.roll("whose token", 12) {
	case 5:
		owner = run.colleague
	case 6: // a role's current or earlier token
		if token, made := run.oracle.anyKnownToken(run.roll("which", 8)); token != nil {
			return offer{token: token, madeByMount: made}
		}
	case 7:
		t := owner.NewToken()
		secret := t.Secret
		run.oracle.trueSecrets[t.ID] = secret
		if run.roll("mistyped", 2) == 1 {
			secret = "as-0000000000000000000000"
			run.oracle.excuseToken(t.ID, "the operator mistyped its secret")
		}
		return offer{token: &Token{t.ID, secret}, unverified: true}
	case 8:
		return offer{token: run.foreignToken("robot-%08d")}
	case 9: // the token of another mount of this engine
		if run.neighbor != nil {
			current := run.neighbor.disk.truth().current[neighborRole]
			run.oracle.excuseToken(current.ID, "its own mount may revoke it")
			return offer{token: &Token{current.ID, current.Secret}, madeByMount: true}
		}
		return offer{token: run.foreignToken("vault-00000000-ci-%08d"), madeByMount: true}
	case 10, 11: // a lease's token, with force
		if k := run.anyLease(); k != nil {
			return offer{token: &Token{k.ID, k.Secret}, madeByMount: true, force: true}
		}
	}
	t := owner.NewToken()
	return offer{token: &Token{t.ID, t.Secret}}
}

// unverifiedToken returns a token that some role stores unverified, with its right secret, or nil.
func (run *Run) unverifiedToken() *Token {
	t := run.disk.truth()
	for _, role := range t.names() {
		current := t.current[role]
		if secret := run.oracle.trueSecrets[current.ID]; current.Verified.IsZero() && secret != "" {
			return &Token{current.ID, secret}
		}
	}
	return nil
}

// foreignToken returns the token of a service user that this mount did not create.
func (run *Run) foreignToken(name string) *Token {
	t := run.workspace.AddServiceUser(fmt.Sprintf(name, len(run.oracle.foreign)))
	run.oracle.addForeign(t.ID)
	return &Token{t.ID, t.Secret}
}

func (run *Run) createStatic() {
	role, token := run.newRole(), run.drawOffer()
	settings := RoleSettings{Type: ptr("static"), Token: token.token, Unverified: token.unverified, Force: token.force || run.roll("force", 3) == 2}
	run.oracle.operatorSends(settings.Token.ID, run.configuredServer())
	if run.roll("grace", 2) == 1 {
		settings.Grace = ptr(run.drawDuration("grace_period", day, time.Hour, 0, 3*day))
	}
	if run.roll("keeps", 6) == 5 {
		settings.RevokePrevious = ptr(false)
	}
	settings.Description = run.drawDescription()
	run.maybePlanCut(3)
	run.logf("create static role %s: %s", role, settings)
	op := &operation{what: "create static", role: role, settings: &settings}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		before := run.disk.truth().current[role].ID
		err := e.WriteRole(ctx, role, settings)
		if now := run.disk.truth().current[role]; before != settings.Token.ID && now.Version <= 1 { // otherwise the role had the token already
			run.checkOffer(err, token, settings.Force)
		}
		return err
	}))
}

// createWithoutToken creates a static role that gets its first token later.
func (run *Run) createWithoutToken() {
	role, settings := run.newRole(), RoleSettings{Type: ptr("static")}
	if run.roll("grace", 2) == 1 {
		settings.Grace = ptr(run.drawDuration("grace_period", day, time.Hour, 0, 3*day))
	}
	run.maybePlanCut(2)
	run.writeSettings("create empty", role, settings)
}

// checkOffer judges a role's acceptance of a token.
func (run *Run) checkOffer(err error, token offer, force bool) {
	switch {
	case err != nil || token.unverified:
	case run.oracle.isForeign(token.token.ID) && !token.madeByMount:
		run.report.count("an operator supplies a service user's token")
	case token.madeByMount && !force:
		run.broken("a role accepted token %s without force, although a mount created its service user", token.token.ID)
	case token.madeByMount:
		run.report.count("force accepts a token that a mount created")
	}
}

func (run *Run) writeRole() {
	role, settings := run.anyRole(), run.drawManagedSettings()
	if t := run.disk.truth(); t.roles[role].Type == "static" {
		settings = RoleSettings{Grace: settings.Grace, Refresh: settings.Refresh, Period: settings.Period, Description: settings.Description}
		if run.roll("keeps", 4) == 3 {
			settings.RevokePrevious = ptr(run.roll("revoke_previous", 2) == 0)
		}
		if t.current[role].ID == "" && run.roll("first token", 2) == 1 {
			token := run.drawOffer()
			settings.Token, settings.Unverified = token.token, token.unverified
			run.oracle.operatorSends(settings.Token.ID, run.configuredServer())
		}
	}
	if run.disk.truth().roles[role].Dynamic != nil {
		settings = run.drawDynamicSettings()
	}
	run.writeSettings("write role", role, settings)
}

// writeSettings writes a role, and checks that Modal matches the answer.
func (run *Run) writeSettings(what, role string, settings RoleSettings) {
	if run.leavesOut() {
		return
	}
	run.logf("%s %s: %s", what, role, settings)
	op := &operation{what: what, role: role, settings: &settings}
	calls := run.recordCalls()
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		err := e.WriteRole(ctx, role, settings)
		if err == nil && run.ranAlone(op) {
			run.oracle.settingsWritten(role, settings, calls())
		}
		if err == nil && settings.NameTemplate != nil && !canName[*settings.NameTemplate] {
			run.broken("role %s accepted the service_user_name_template %q, which cannot be used", role, *settings.NameTemplate)
		}
		return err
	}))
}

func (run *Run) deleteRole() {
	role, force := run.anyRole(), run.roll("force", 4) == 3
	run.maybePlanCut(4)
	run.logf("delete role %s, force: %t", role, force)
	if force {
		run.oracle.withdrawPromises(role)
	}
	run.await(run.launch(&operation{what: "delete role", role: role, force: force}, func(ctx context.Context, e Engine) error {
		return e.DeleteRole(ctx, role, force)
	}))
}
