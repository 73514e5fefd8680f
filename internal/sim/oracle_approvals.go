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
type approvalRequest struct {
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
func (o *oracle) approvalWritten(t *truth, key string, before, after storedApproval, there bool) {
	asked := after.polledFlows()
	for flow, until := range before.polledFlows() {
		if _, still := asked[flow]; !still {
			o.checkNoLateToken(key, flow, until)
		}
	}
	if !there {
		o.run.logf("    delete approval/%s", key)
		return
	}
	o.run.logf("    put approval/%s: %s, open: %t, %s %s", key, after.State, after.Open, after.TokenID, after.Reason)
	if after.Flow != before.Flow && after.Flow != "" {
		o.requests[after.Flow] = o.openRequest(approvalRole(key))
	}
	if before.Open && !after.Open && after.State != "" {
		what := "an approval is "
		if key == adminApproval {
			what = "an admin's approval is "
		}
		o.run.report.count(what + after.State)
	}
	if after.TokenID == "" || after.TokenID == before.TokenID {
		return
	}
	o.record(after.TokenID).tracked = true
	if o.isLive(after.TokenID) && !t.inQueue(after.TokenID) && !t.isCurrent(after.TokenID) {
		o.run.broken("token %s was approved for %s, and the ledger does not know it", after.TokenID, key)
	}
}

// overheard expects a flow to have brought no token that the engine does not know, by the time the engine asks
// for it no more. That is an hour after the end of its approval, or a day where Modal does not answer.
func (o *oracle) checkNoLateToken(key, flow string, until time.Time) {
	if o.run.clockSpread() > 0 || time.Now().After(until.Add(day)) {
		return
	}
	if time.Now().Before(until.Add(-clockGrain)) {
		o.run.broken("the approval %s is asked for no more before %s", key, until)
	}
	meanwhile := time.Duration(0) // between the answer and its writing
	if o.run.conditions.Overlap {
		meanwhile = 10 * time.Second
	}
	for _, s := range o.run.modals {
		for _, f := range s.Flows() {
			if f.ID != flow || f.TokenID == "" || !time.Now().Before(f.Lapses) {
				continue
			}
			for _, t := range s.Tokens() {
				if t.ID == f.TokenID && time.Since(t.Created) > meanwhile && !o.record(t.ID).tracked {
					o.run.broken("the approval %s ended without token %s, which was approved", key, t.ID)
				}
			}
		}
	}
}

// tookIn sees the engine take in a token that a person approved.
func (o *oracle) approvedTokenQueued(t *truth, id string) {
	o.record(id).tracked = true
	o.refreshOwners()
	for _, a := range t.approvals {
		for _, late := range a.Late {
			if late.Flow == o.flows[id] {
				o.run.report.count("a token arrives after its approval has ended")
			}
		}
	}
}

// flowLifetime is how long Modal lets a person approve: longer than the engine asks after the longest approval here,
// so that no token is lost for want of time.
const flowLifetime = 12 * time.Hour

// lastAsked is how long after the end of an approval the engine still asks for its token.
const pollAfterEnd = time.Hour

// whatIsAsked is what the requests that may have begun an approval just now asked for.
func (o *oracle) openRequest(role string) approvalRequest {
	request := approvalRequest{role: role}
	for _, op := range o.run.running() {
		if op.what == "begin approval" && op.role == role {
			request.force = request.force || op.force
			if op.grace != nil && (request.grace == nil || *op.grace < *request.grace) {
				request.grace = op.grace
			}
		}
	}
	return request
}

// graceOf is the grace period of the token that another one replaced.
func (o *oracle) graceAfter(next string, otherwise time.Duration) time.Duration {
	if request := o.requests[o.flows[next]]; request.grace != nil {
		return min(otherwise, *request.grace)
	}
	return otherwise
}

// may notes that an operator brings a token by force: it may be anybody's.
func (o *oracle) allowAnyOwner(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.record(id).anyOwner = true
}

// byForce says that a token may be anybody's.
func (o *oracle) allowsAnyOwner(id string) bool {
	return o.record(id).anyOwner || o.requests[o.flows[id]].force
}

// pinned expects a static role's next token to be of who the one before was of.
func (o *oracle) checkOwner(role string, before, after storedToken) {
	o.refreshOwners()
	flow := o.flows[after.ID]
	if request, known := o.requests[flow]; known && o.record(after.ID).secret == "" && !o.sentByOperator[after.ID] && request.role != role {
		o.run.broken("role %s took token %s, which was approved for %q", role, after.ID, request.role)
	}
	undone := slices.ContainsFunc(o.run.running(), func(op *operation) bool { return op.role == role && op.what == "undo" })
	if !undone {
		o.checkPin(o.run.disk.truth(), "role "+role, after)
	}
	if before.ID == "" || after.Verified.IsZero() || undone || o.allowsAnyOwner(after.ID) {
		return
	}
	if before.Verified.IsZero() {
		o.run.broken("role %s took token %s without force, although token %s before it was never proven", role, after.ID, before.ID)
	}
	if was, is := o.owners[before.ID], o.owners[after.ID]; was.server != nil && was != is {
		o.run.broken("role %s took token %s of %s of %s, and the one before is of %s of %s", role, after.ID, is.owner, is.workspace, was.owner, was.workspace)
	}
}

// wroteAdmin sees config get another admin token, or lose its.
func (o *oracle) adminTokenWritten(was, is *truth) {
	o.run.logf("    put config: admin token %s, before it %s", is.admin.ID, was.admin.ID)
	if is.admin.ID != "" {
		o.refreshOwners()
		if o.record(is.admin.ID).excuse == "" && !o.run.modals.Accepts(is.admin.ID, is.admin.Secret) {
			o.run.broken("config took admin token %s, which Modal does not accept", is.admin.ID)
		}
		o.checkAdminOwner(was, is)
		o.checkPin(is, "config", is.admin)
		o.markDisplaced(o.run.disk.truth(), "", is.admin)
		if !is.admin.Verified.IsZero() {
			o.adminWorkspace = is.admin.Workspace
		}
		o.markCurrent("", is.admin)
	}
	if was.admin.ID == "" {
		return
	}
	o.markReplaced("", was.admin, storedRole{}, o.graceAfter(is.admin.ID, adminGrace))
	o.record(was.admin.ID).manual = is.admin.ID == ""
}

// pinnedAdmin expects an admin token that came by config/rotate or an approval to be of the same
// workspace, and of somebody who can manage service users.
func (o *oracle) checkAdminOwner(was, is *truth) {
	a, b := o.owners[was.admin.ID], o.owners[is.admin.ID]
	if o.allowsAnyOwner(is.admin.ID) {
		return
	}
	if o.adminWorkspace != "" && o.adminWorkspace != b.workspace {
		o.run.broken("config took admin token %s of workspace %s, and the last one was of %s", is.admin.ID, b.workspace, o.adminWorkspace)
	}
	if was.admin.ID == "" || a.server == nil {
		return
	}
	if b.owner == o.run.colleague.Username() && a.owner != b.owner && !was.limited {
		o.run.broken("config took admin token %s of %s, who cannot manage service users", is.admin.ID, b.owner)
	}
}

// outside expects a token that somebody brought or approved to be of the workspace that config pins, forced or
// not.
func (o *oracle) checkPin(t *truth, where string, token storedToken) {
	if t.pinned == "" || o.run.conditions.Overlap {
		return
	}
	if token.Verified.IsZero() || (t.pinned != token.Workspace && t.pinned != token.WorkspaceID) {
		o.run.broken("%s took token %s of workspace %q, and config pins %s", where, token.ID, token.Workspace, t.pinned)
	}
	o.run.report.count("a token of the pinned workspace")
}

// checkWait expects a wait secret to go to the server alone that gave it.
func (o *oracle) checkWaitSecret(s *modaltest.Server, call modaltest.Call) {
	if !slices.ContainsFunc(s.Flows(), func(f modaltest.FlowInfo) bool { return f.ID == call.Target }) {
		o.run.broken("%s was asked for the token of flow %s, which is not its", s.URL(), call.Target)
	}
}
