// SPDX-License-Identifier: MPL-2.0

package main

// row is a row of a table in docs/modal.md that nobody outside of Modal can settle without asking it.
type row struct{ id, claim string }

// assumed and notKnown are in the order of the page.
var (
	assumed = []row{
		{"refused-deleted", "UNAUTHENTICATED is the answer for a deleted token"},
		{"refused-expired", "UNAUTHENTICATED is the answer for an expired token"},
		{"refused-lasting", "UNAUTHENTICATED is the answer for nothing that passes"},
		{"deleted-at-once", "a deleted token is refused at its next call"},
		{"deleted-with-user", "a deleted service user's token dies with it"},
		{"no-auth-token", "TokenInfoGet needs no x-modal-auth-token"},
		{"idempotency-key", "x-idempotency-key tells a retry from a new call"},
		{"refused-made-nothing", "a refused ServiceUserCreate made nothing"},
		{"name-taken", "a name that is taken is ALREADY_EXISTS"},
		{"name-length", "a name may have 63 characters"},
		{"scoped", "a scoped service user sees environments with a role alone"},
		{"not-for-you", "who may not manage service users gets PERMISSION_DENIED"},
		{"no-plan", "without service users the answer is FAILED_PRECONDITION or UNIMPLEMENTED"},
		{"unknown-environment", "an unknown environment is NOT_FOUND or INVALID_ARGUMENT"},
		{"new-token", "a new token is accepted within 45 seconds"},
		{"expiry-told", "the expiry that ServiceUserCreate tells is the one that counts"},
		{"expiry-deletes", "an expired service user is gone"},
		{"flow-anonymous", "a token flow needs no token"},
		{"ends-itself", "a member's token may delete itself"},
		{"gone-not-found", "TokenDelete of a deleted token is NOT_FOUND to the member's other token"},
	}
	notKnown = []row{
		{"deleted-data-plane", "how long a deleted token goes on outside of the control plane"},
		{"deleted-work", "whether what a deleted token has started goes on"},
		{"owner-leaves", "whether a service user outlives the person whose token made it"},
		{"how-many", "how many service users a workspace may have"},
		{"longest-life", "how long a service user's token may live"},
		{"delete-service-users-token", "what TokenDelete of a service user's token does"},
		{"other-workspace", "what TokenDelete answers about another workspace's token"},
		{"flow-denied", "what TokenFlowWait answers after a denial, or once the flow is over"},
		{"flow-twice", "whether a flow can be approved after it was denied, or twice"},
	}
)

// beyond are the rows that this program does not try, and why.
var beyond = map[string]string{
	"idempotency-key":    "it would take a lost answer",
	"deleted-data-plane": "it would take a program that runs at Modal",
	"deleted-work":       "it would take a program that runs at Modal",
	"owner-leaves":       "it would take a person who leaves",
	"how-many":           "it would fill the workspace",
	"other-workspace":    "it would take a token of another workspace",
	"flow-twice":         "it would take a second page in the browser",
}
