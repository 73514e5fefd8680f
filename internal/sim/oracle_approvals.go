// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// adminGrace is how long a replaced admin token works on where nobody says otherwise.
const adminGrace = time.Hour

// asked is what a flow was begun for.
type asked struct {
	role  string // empty for the admin's
	force bool
	grace *time.Duration
}

func approvalRole(key string) string {
	if key == adminApproval {
		return ""
	}
	return key
}

// wroteApproval sees an approval begin, get its token, end or go.
func (o *oracle) wroteApproval(t *truth, key string, before, after storedApproval, there bool) {
	asked := after.asksFor()
	for flow, until := range before.asksFor() {
		if _, still := asked[flow]; !still {
			o.overheard(key, flow, until)
		}
	}
	if !there {
		o.l.note("    delete approval/%s", key)
		return
	}
	o.l.note("    put approval/%s: %s, open: %t, %s %s", key, after.State, after.Open, after.TokenID, after.Said)
	if after.Flow != before.Flow && after.Flow != "" {
		o.asked[after.Flow] = o.whatIsAsked(approvalRole(key))
	}
	if before.Open && !after.Open && after.State != "" {
		what := "an approval is "
		if key == adminApproval {
			what = "an admin's approval is "
		}
		o.l.report.seen(what + after.State)
	}
	if after.TokenID == "" || after.TokenID == before.TokenID {
		return
	}
	o.of(after.TokenID).kept = true
	if o.lives(after.TokenID) && !t.inLedger(after.TokenID) && !t.inUse(after.TokenID) {
		o.l.broken("token %s was approved for %s, and the ledger does not know it", after.TokenID, key)
	}
}

// overheard expects a flow to have brought no token that the engine does not know, by the time the engine asks
// for it no more. That is an hour after the end of its approval, or a day where Modal does not answer.
func (o *oracle) overheard(key, flow string, until time.Time) {
	if o.l.doubt() > 0 || time.Now().After(until.Add(day)) {
		return
	}
	if time.Now().Before(until.Add(-clockGrain)) {
		o.l.broken("the approval %s is asked for no more before %s", key, until)
	}
	meanwhile := time.Duration(0) // between the answer and its writing
	if o.l.climate.Overlap {
		meanwhile = 10 * time.Second
	}
	for _, s := range o.l.modals {
		for _, f := range s.Flows() {
			if f.ID != flow || f.TokenID == "" || !time.Now().Before(f.Lapses) {
				continue
			}
			for _, t := range s.Tokens() {
				if t.ID == f.TokenID && time.Since(t.Created) > meanwhile && !o.of(t.ID).kept {
					o.l.broken("the approval %s ended without token %s, which was approved", key, t.ID)
				}
			}
		}
	}
}

// tookIn sees the engine take in a token that a person approved.
func (o *oracle) tookIn(t *truth, id string) {
	o.of(id).kept = true
	o.learn()
	for _, a := range t.approvals {
		for _, late := range a.Late {
			if late.Flow == o.approved[id] {
				o.l.report.seen("a token arrives after its approval has ended")
			}
		}
	}
}

// flowLifetime is how long Modal lets a person approve: longer than the engine asks after the longest approval here,
// so that no token is lost for want of time.
const flowLifetime = 12 * time.Hour

// lastAsked is how long after the end of an approval the engine still asks for its token.
const lastAsked = time.Hour

// whatIsAsked is what the requests that may have begun an approval just now asked for.
func (o *oracle) whatIsAsked(role string) asked {
	a := asked{role: role}
	for _, op := range o.l.running() {
		if op.what == "begin approval" && op.role == role {
			a.force = a.force || op.force
			if op.grace != nil && (a.grace == nil || *op.grace < *a.grace) {
				a.grace = op.grace
			}
		}
	}
	return a
}

// graceOf is the grace period of the token that another one replaced.
func (o *oracle) graceOf(next string, otherwise time.Duration) time.Duration {
	if a := o.asked[o.approved[next]]; a.grace != nil {
		return min(otherwise, *a.grace)
	}
	return otherwise
}

// may notes that an operator brings a token by force: it may be anybody's.
func (o *oracle) may(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of(id).anybodys = true
}

// byForce says that a token may be anybody's.
func (o *oracle) byForce(id string) bool {
	return o.of(id).anybodys || o.asked[o.approved[id]].force
}

// pinned expects a static role's next token to be of who the one before was of.
func (o *oracle) pinned(role string, before, after storedToken) {
	o.learn()
	flow := o.approved[after.ID]
	if a, known := o.asked[flow]; known && o.of(after.ID).secret == "" && !o.brought[after.ID] && a.role != role {
		o.l.broken("role %s took token %s, which was approved for %q", role, after.ID, a.role)
	}
	undone := slices.ContainsFunc(o.l.running(), func(op *operation) bool { return op.role == role && op.what == "undo" })
	if !undone {
		o.outside(o.l.disk.truth(), "role "+role, after)
	}
	if before.ID == "" || after.Verified.IsZero() || undone || o.byForce(after.ID) {
		return
	}
	if before.Verified.IsZero() {
		o.l.broken("role %s took token %s without force, although token %s before it was never proven", role, after.ID, before.ID)
	}
	if was, is := o.whose[before.ID], o.whose[after.ID]; was.server != nil && was != is {
		o.l.broken("role %s took token %s of %s of %s, and the one before is of %s of %s", role, after.ID, is.owner, is.workspace, was.owner, was.workspace)
	}
}

// wroteAdmin sees config get another admin token, or lose its.
func (o *oracle) wroteAdmin(was, is *truth) {
	o.l.note("    put config: admin token %s, before it %s", is.admin.ID, was.admin.ID)
	if is.admin.ID != "" {
		o.learn()
		if o.of(is.admin.ID).excuse == "" && !o.l.modals.Accepts(is.admin.ID, is.admin.Secret) {
			o.l.broken("config took admin token %s, which Modal does not accept", is.admin.ID)
		}
		o.pinnedAdmin(was, is)
		o.outside(is, "config", is.admin)
		o.taken(o.l.disk.truth(), "", is.admin)
		if !is.admin.Verified.IsZero() {
			o.adminOf = is.admin.Workspace
		}
		o.handsOut("", is.admin)
	}
	if was.admin.ID == "" {
		return
	}
	o.released("", was.admin, storedRole{}, o.graceOf(is.admin.ID, adminGrace))
	o.of(was.admin.ID).forPeople = is.admin.ID == ""
}

// pinnedAdmin expects an admin token that came by config/rotate or an approval to be of the same
// workspace, and of somebody who can manage service users.
func (o *oracle) pinnedAdmin(was, is *truth) {
	a, b := o.whose[was.admin.ID], o.whose[is.admin.ID]
	if o.byForce(is.admin.ID) {
		return
	}
	if o.adminOf != "" && o.adminOf != b.workspace {
		o.l.broken("config took admin token %s of workspace %s, and the last one was of %s", is.admin.ID, b.workspace, o.adminOf)
	}
	if was.admin.ID == "" || a.server == nil {
		return
	}
	if b.owner == o.l.colleague.Username() && a.owner != b.owner && !was.limited {
		o.l.broken("config took admin token %s of %s, who cannot manage service users", is.admin.ID, b.owner)
	}
}

// outside expects a token that somebody brought or approved to be of the workspace that config pins, forced or
// not.
func (o *oracle) outside(t *truth, where string, token storedToken) {
	if t.pinned == "" || o.l.climate.Overlap {
		return
	}
	if token.Verified.IsZero() || (t.pinned != token.Workspace && t.pinned != token.WorkspaceID) {
		o.l.broken("%s took token %s of workspace %q, and config pins %s", where, token.ID, token.Workspace, t.pinned)
	}
	o.l.report.seen("a token of the pinned workspace")
}

// checkWait expects a wait secret to go to the server alone that gave it.
func (o *oracle) checkWait(s *modaltest.Server, call modaltest.Call) {
	if !slices.ContainsFunc(s.Flows(), func(f modaltest.FlowInfo) bool { return f.ID == call.Target }) {
		o.l.broken("%s was asked for the token of flow %s, which is not its", s.URL(), call.Target)
	}
}
