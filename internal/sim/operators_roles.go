// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"fmt"
	"time"
)

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
	if roll(l.rt, "hold", 3) == 2 {
		p.Hold = ptr(l.duration("hold_while_used", 6*time.Hour, day, 0))
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
	l.write("create managed", role, p)
}

// offer is a token that an operator brings.
type offer struct {
	pair     *Pair
	unproven bool
	// madeByMount: its service user's name says that a mount of this engine made it.
	madeByMount bool
	// meant: force is said.
	meant bool
}

// fresh is a person's or a robot's token, or one that the role must not take.
func (l *Life) fresh() offer {
	owner := l.owner
	if l.disk.truth().server == l.elsewhere.URL() && roll(l.rt, "whose server", 2) == 1 {
		owner = l.stranger
	}
	if pair := l.unverified(); pair != nil && roll(l.rt, "held unverified", 4) == 3 {
		return offer{pair: pair}
	}
	switch roll(l.rt, "whose token", 12) {
	case 5:
		owner = l.colleague
	case 6: // one that some role has or had
		if pair, made := l.oracle.known(roll(l.rt, "which", 8)); pair != nil {
			return offer{pair: pair, madeByMount: made}
		}
	case 7:
		t := owner.NewToken()
		secret := t.Secret
		l.oracle.secrets[t.ID] = secret
		if roll(l.rt, "mistyped", 2) == 1 {
			secret = "as-0000000000000000000000"
			l.oracle.excuse(t.ID, "its secret was mistyped")
		}
		return offer{pair: &Pair{t.ID, secret}, unproven: true}
	case 8:
		return offer{pair: l.robot("robot-%08d")}
	case 9: // of another mount of this engine
		return offer{pair: l.robot("vault-00000000-ci-%08d"), madeByMount: true}
	case 10, 11: // of a lease, by somebody who means it
		if k := l.aLease(); k != nil {
			return offer{pair: &Pair{k.ID, k.Secret}, madeByMount: true, meant: true}
		}
	}
	t := owner.NewToken()
	return offer{pair: &Pair{t.ID, t.Secret}}
}

// unverified is a token that some role holds unverified, with its right secret; nil for none.
func (l *Life) unverified() *Pair {
	t := l.disk.truth()
	for _, role := range t.names() {
		held := t.current[role]
		if secret := l.oracle.secrets[held.ID]; held.Verified.IsZero() && secret != "" {
			return &Pair{held.ID, secret}
		}
	}
	return nil
}

// robot is the token of a service user that this mount did not make.
func (l *Life) robot(name string) *Pair {
	t := l.workspace.AddServiceUser(fmt.Sprintf(name, len(l.oracle.theirs)))
	l.oracle.others(t.ID)
	return &Pair{t.ID, t.Secret}
}

func (l *Life) createStatic() {
	role, token := l.newRole(), l.fresh()
	p := Policy{Type: ptr("static"), Pair: token.pair, Unproven: token.unproven, Force: token.meant || roll(l.rt, "force", 3) == 2}
	l.oracle.bring(p.Pair.ID, l.goesTo())
	if roll(l.rt, "grace", 2) == 1 {
		p.Grace = ptr(l.duration("grace_period", day, time.Hour, 0, 3*day))
	}
	if roll(l.rt, "keeps", 6) == 5 {
		p.RevokePrevious = ptr(false)
	}
	l.cutsHere(3)
	l.note("create static role %s: %s", role, p)
	op := &operation{what: "create static", role: role}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		before := l.disk.truth().current[role].ID
		err := e.WriteRole(ctx, role, p)
		if now := l.disk.truth().current[role]; before != p.Pair.ID && now.Version <= 1 { // else the role had it already
			l.imported(err, token, p.Force)
		}
		return err
	}))
}

// createEmpty makes a static role whose first token is still to come.
func (l *Life) createEmpty() {
	role, p := l.newRole(), Policy{Type: ptr("static")}
	if roll(l.rt, "grace", 2) == 1 {
		p.Grace = ptr(l.duration("grace_period", day, time.Hour, 0, 3*day))
	}
	l.cutsHere(2)
	l.note("create static role %s without a token: %s", role, p)
	l.write("create empty", role, p)
}

// imported judges that a role took a token.
func (l *Life) imported(err error, token offer, force bool) {
	switch {
	case err != nil || token.unproven:
	case l.oracle.isTheirs(token.pair.ID) && !token.madeByMount:
		l.report.seen("a robot's token is brought")
	case token.madeByMount && !force:
		l.broken("token %s of a service user that a mount made was taken without force", token.pair.ID)
	case token.madeByMount:
		l.report.seen("a token that a mount made is brought by force")
	}
}

func (l *Life) writeRole() {
	role, p := l.anyRole(), l.policy()
	if t := l.disk.truth(); t.roles[role].Type == "static" {
		p = Policy{Grace: p.Grace, Refresh: p.Refresh, Period: p.Period}
		if roll(l.rt, "keeps", 4) == 3 {
			p.RevokePrevious = ptr(roll(l.rt, "revoke_previous", 2) == 0)
		}
		if t.current[role].ID == "" && roll(l.rt, "first token", 2) == 1 {
			token := l.fresh()
			p.Pair, p.Unproven = token.pair, token.unproven
			l.oracle.bring(p.Pair.ID, l.goesTo())
		}
	}
	if l.disk.truth().roles[role].Dynamic != nil {
		p = l.dynamicPolicy()
	}
	l.note("write role %s: %s", role, p)
	l.write("write role", role, p)
}

// write has an operator write a role, and holds Modal to the answer.
func (l *Life) write(what, role string, p Policy) {
	op := &operation{what: what, role: role}
	calls := l.callsFromNow()
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		err := e.WriteRole(ctx, role, p)
		if err == nil && l.isAlone(op) {
			l.oracle.written(role, p, calls())
		}
		return err
	}))
}

func (l *Life) deleteRole() {
	role, force := l.anyRole(), roll(l.rt, "force", 4) == 3
	l.cutsHere(4)
	l.note("delete role %s, force: %t", role, force)
	if force {
		l.oracle.voidAll(role)
	}
	l.await(l.begin(&operation{what: "delete role", role: role, force: force}, func(ctx context.Context, e Engine) error {
		return e.DeleteRole(ctx, role, force)
	}))
}
