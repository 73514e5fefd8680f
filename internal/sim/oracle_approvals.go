// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"cmp"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// adminGrace is the default grace period of a replaced admin token.
const adminGrace = time.Hour

// approvalRequest is the request that started a flow.
type approvalRequest struct {
	role  string // empty for the admin token
	force bool
	grace *time.Duration
}

func approvalRole(key string) string {
	if key == adminApproval {
		return ""
	}
	return key
}

// approvalWritten checks each write of an approval.
func (o *oracle) approvalWritten(t *truth, key string, before, after storedApproval, there bool) {
	polled := after.polledFlows()
	for flow, until := range before.polledFlows() {
		if _, still := polled[flow]; !still {
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
		o.run.broken("token %s was approved for %s, but it has no revocation", after.TokenID, key)
	}
}

// checkNoLateToken expects that a flow has delivered no unknown token when the engine stops polling it. The engine
// stops an hour after the approval's end, or a day after it if Modal does not answer.
func (o *oracle) checkNoLateToken(key, flow string, until time.Time) {
	if o.run.clockSpread() > 0 || time.Now().After(until.Add(day)) {
		return
	}
	if time.Now().Before(until.Add(-clockGrain)) {
		o.run.broken("the engine stopped polling the approval %s before %s", key, until)
	}
	meanwhile := time.Duration(0) // the time between Modal's answer and its storage
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
					o.run.broken("the approval %s ended without its approved token %s", key, t.ID)
				}
			}
		}
	}
}

// approvedTokenQueued records that the engine queued an approved token.
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

// flowLifetime is how long Modal lets a person approve. It is longer than the engine polls after the longest
// approval of a run, so no token is lost only because the flow expired.
const flowLifetime = 12 * time.Hour

// pollAfterEnd is how long after an approval's end the engine still polls for its token.
const pollAfterEnd = time.Hour

// openRequest combines the running requests that may have started an approval just now.
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

// graceAfter returns the grace period of a token that the token next replaced.
func (o *oracle) graceAfter(next string, otherwise time.Duration) time.Duration {
	if request := o.requests[o.flows[next]]; request.grace != nil {
		return min(otherwise, *request.grace)
	}
	return otherwise
}

// allowAnyOwner records that an operator supplies a token with force, so it may have any owner.
func (o *oracle) allowAnyOwner(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.record(id).anyOwner = true
}

// allowsAnyOwner reports whether a token may have any owner.
func (o *oracle) allowsAnyOwner(id string) bool {
	return o.record(id).anyOwner || o.requests[o.flows[id]].force
}

// checkOwner expects a static role's next token to have the same owner as the token before.
func (o *oracle) checkOwner(role string, before, after storedToken) {
	o.refreshOwners()
	flow := o.flows[after.ID]
	if request, known := o.requests[flow]; known && o.record(after.ID).secret == "" && !o.sentByOperator[after.ID] && request.role != role {
		o.run.broken("role %s accepted token %s, which was approved for %q", role, after.ID, request.role)
	}
	undone := slices.ContainsFunc(o.run.running(), func(op *operation) bool { return op.role == role && op.what == "undo" })
	if !undone {
		o.checkPin(o.run.disk.truth(), "role "+role, after)
	}
	if before.ID == "" || after.Verified.IsZero() || undone || o.allowsAnyOwner(after.ID) {
		return
	}
	if before.Verified.IsZero() {
		o.run.broken("role %s accepted token %s without force, although the previous token %s was never verified", role, after.ID, before.ID)
	}
	if was, is := o.owners[before.ID], o.owners[after.ID]; was.server != nil && was != is {
		o.run.broken("role %s accepted token %s of %s in %s, but the previous token belongs to %s in %s", role, after.ID, is.owner, is.workspace, was.owner, was.workspace)
	}
}

// adminTokenWritten checks a change of the admin token.
func (o *oracle) adminTokenWritten(was, is *truth) {
	o.run.logf("    put config: admin token %s, before: %s", cmp.Or(is.admin.ID, "none"), cmp.Or(was.admin.ID, "none"))
	if is.admin.ID != "" {
		o.refreshOwners()
		if remembered := o.run.disk.truth().remembered; is.admin.Verified.IsZero() && remembered != "" {
			o.run.broken("config accepted the admin token %s with verify=false, although the mount belongs to workspace %s", is.admin.ID, remembered)
		}
		if o.record(is.admin.ID).excuse == "" && !o.run.modals.Accepts(is.admin.ID, is.admin.Secret) {
			o.run.broken("config accepted admin token %s, which Modal rejects", is.admin.ID)
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

// checkAdminOwner expects an admin token from config/rotate or an approval to belong to the same workspace, and to
// somebody who can manage service users.
func (o *oracle) checkAdminOwner(was, is *truth) {
	a, b := o.owners[was.admin.ID], o.owners[is.admin.ID]
	if o.allowsAnyOwner(is.admin.ID) {
		return
	}
	if o.adminWorkspace != "" && o.adminWorkspace != b.workspace {
		o.run.broken("config accepted admin token %s of workspace %s, but the last admin token belonged to %s", is.admin.ID, b.workspace, o.adminWorkspace)
	}
	if was.admin.ID == "" || a.server == nil {
		return
	}
	if b.owner == o.run.colleague.Username() && a.owner != b.owner && !was.limited {
		o.run.broken("config accepted admin token %s of %s, who cannot manage service users", is.admin.ID, b.owner)
	}
}

// checkPin expects a supplied or approved token to belong to the pinned workspace, even with force.
func (o *oracle) checkPin(t *truth, where string, token storedToken) {
	if t.pinned == "" || o.run.conditions.Overlap {
		return
	}
	if token.Verified.IsZero() || (t.pinned != token.Workspace && t.pinned != token.WorkspaceID) {
		o.run.broken("%s accepted token %s of workspace %q, but config pins %s", where, token.ID, token.Workspace, t.pinned)
	}
	o.run.report.count("a token of the pinned workspace")
}

// checkWaitSecret expects a wait secret to go only to the server that issued it.
func (o *oracle) checkWaitSecret(s *modaltest.Server, call modaltest.Call) {
	if !slices.ContainsFunc(s.Flows(), func(f modaltest.FlowInfo) bool { return f.ID == call.Target }) {
		o.run.broken("the engine asked %s for the token of flow %s, which belongs to another server", s.URL(), call.Target)
	}
}
