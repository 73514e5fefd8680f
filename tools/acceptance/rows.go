// SPDX-License-Identifier: MPL-2.0

package main

// row is a row of a table in docs/modal.md. Only Modal itself can answer it.
type row struct{ id, claim string }

// assumed and notKnown have the order of the page.
var (
	assumed = []row{
		{"refused-deleted", "UNAUTHENTICATED is the answer for a deleted token"},
		{"refused-expired", "UNAUTHENTICATED is the answer for an expired token"},
		{"refused-lasting", "UNAUTHENTICATED is never a passing failure"},
		{"deleted-at-once", "a deleted token is rejected at its next call"},
		{"deleted-with-user", "deleting a service user ends its token"},
		{"no-auth-token", "TokenInfoGet needs no x-modal-auth-token"},
		{"idempotency-key", "x-idempotency-key distinguishes a retry from a new call"},
		{"refused-made-nothing", "a refused ServiceUserCreate creates nothing"},
		{"name-taken", "an existing name gives ALREADY_EXISTS"},
		{"name-length", "a name may have 63 characters"},
		{"scoped", "a scoped service user sees only environments with a role"},
		{"effective-role", "EnvironmentList reports the role that the calling token has"},
		{"not-for-you", "a caller without the right to manage service users gets PERMISSION_DENIED"},
		{"no-plan", "a plan without service users gives FAILED_PRECONDITION or UNIMPLEMENTED"},
		{"members-who-left", "WorkspaceMembersList lists a member who left with a date, and present members without"},
		{"unknown-environment", "an unknown environment gives NOT_FOUND or INVALID_ARGUMENT"},
		{"new-token", "a new token is accepted within 45 seconds"},
		{"expiry-told", "ServiceUserCreate reports the effective expiry"},
		{"expiry-deletes", "an expired service user is gone"},
		{"flow-anonymous", "a token flow needs no token"},
		{"ends-itself", "a member token may delete itself"},
		{"gone-not-found", "the member's other token gets NOT_FOUND for TokenDelete of a deleted token"},
		{"identity-issuer", "the issuer of identity tokens names itself and its keys, and signs with RS256"},
		{"identity-claims", "an identity token is for oidc.modal.com and has the claims that a login role binds"},
	}
	notKnown = []row{
		{"deleted-data-plane", "how long a deleted token still works outside of the control plane"},
		{"deleted-work", "whether the work of a deleted token continues"},
		{"owner-leaves", "whether a service user outlives the person who created it"},
		{"how-many", "how many service users a workspace may have"},
		{"longest-life", "how long a service user's token may live"},
		{"delete-service-users-token", "how TokenDelete treats a service user's token"},
		{"other-workspace", "how TokenDelete treats a token of another workspace"},
		{"custom-roles", "what the custom roles of a workspace grant"},
		{"audit-log", "which plans have the audit log, and who may read it"},
		{"audit-log-uses", "whether the audit log records the plain use of a token"},
		{"flow-denied", "how TokenFlowWait answers after a denial, or after the flow's end"},
		{"flow-twice", "whether a flow can be approved after it was denied, or twice"},
		{"identity-life", "how long an identity token lives"},
		{"identity-renewed", "whether a container that outlives its identity token gets another one"},
		{"identity-sandbox", "whether the identity token of a sandbox has the same claims"},
	}
)

// untried are the rows that this program does not try, with the reason.
var untried = map[string]string{
	"idempotency-key":    "it needs a lost answer",
	"deleted-data-plane": "it needs a program that runs at Modal",
	"deleted-work":       "it needs a program that runs at Modal",
	"owner-leaves":       "it needs a person who leaves",
	"how-many":           "it would fill the workspace",
	"other-workspace":    "it needs a token of another workspace",
	"flow-twice":         "it needs a second page in the browser",
	"identity-renewed":   "it needs a container that runs for days",
	"identity-sandbox":   "it needs a sandbox at Modal",
}
