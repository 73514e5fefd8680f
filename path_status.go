// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/version"
)

// statusCount is a field of status: the number of roles or revocations in one state.
type statusCount struct{ field, state, what string }

var roleCounts = []statusCount{
	{"roles_ok", model.StateOK, "Roles that need nothing."},
	{"roles_overdue", model.StateOverdue, "Roles whose rotation is late."},
	{"roles_failing", model.StateFailing, "Roles whose scheduled rotations fail."},
	{"roles_rejected", model.StateRejected, "Roles whose current token Modal rejects."},
	{"roles_disabled", model.StateDisabled, "Roles that are rotated on request only."},
}

var revocationCounts = []statusCount{
	{"revocations_pending", model.StatePending, "Service users of rotations that run now or were interrupted just now."},
	{"revocations_leased", model.StateLeased, "Tokens of leases."},
	{"revocations_in_grace", model.StateGrace, "Tokens in their grace period."},
	{"revocations_in_use", model.StateInUse, "Tokens that are past their grace period and still used."},
	{"revocations_ending", model.StateEnding, "Tokens that the engine revokes within about a minute."},
	{"revocations_retrying", model.StateRetrying, "Tokens that the engine could not revoke yet."},
	{"revocations_unconfirmed", model.StateUnconfirmed, "Tokens that Modal still accepts after it acknowledged their deletion, or whose rejection is not yet proof."},
	{"revocations_waiting", model.StateWaiting, "Tokens that an operator has to delete at Modal."},
}

func (b *Backend) pathStatus() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "status/?$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "status"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: local(noFields, b.readStatus, "Count roles and revocations by state, for an alarm.", statusFields()),
		},
		HelpSynopsis:    "Count roles and revocations by state, for an alarm.",
		HelpDescription: strings.TrimSpace(statusHelp),
	}}
}

func statusFields() responses {
	fields := responses{
		fieldVersion:             required(text("Version of the plugin.")),
		"roles":                  required(number("All roles.")),
		"roles_expiring":         required(number("Roles whose current token expires within 30 days, before the engine rotates it by itself. Each counts in its state too.")),
		"roles_unreadable":       required(number("Roles whose stored data cannot be read: they count in no state, and the engine may revoke nothing until they are deleted or repaired.")),
		"revocations":            required(number("All tokens that must end and that the engine has not yet seen Modal reject.")),
		"revocations_unreadable": required(number("Revocations that cannot be read: they count in no state.")),
		fieldPaused:              required(flag("Whether the engine does nothing at Modal by itself.")),
		fieldOutOfSync:           required(flag("Whether Modal has service users of this mount that Vault does not track, so that the engine deletes nothing by itself.")),
		"last_compared_at":       text("When this node last compared its storage with the service users at Modal (RFC 3339); absent: never since it started."),
		"admin_token_state":      required(text(`"none", "ok", "unverified", "limited" (it cannot manage service users), "expired" or "rejected".`)),
		"admin_token_expires_at": text("When the admin token expires at Modal (RFC 3339); absent when it does not."),
	}
	for _, counts := range [][]statusCount{roleCounts, revocationCounts} {
		for _, count := range counts {
			fields[count.field] = required(number(count.what))
		}
	}
	return fields
}

func (b *Backend) readStatus(ctx context.Context, _ *logical.Request, _ struct{}) (*logical.Response, error) {
	s, err := b.engine.Statuses.Read(ctx)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		fieldVersion: version.Version, fieldPaused: s.Paused, fieldOutOfSync: s.OutOfSync, "admin_token_state": s.Admin,
		"roles": int64(s.AllRoles), "roles_expiring": int64(s.Expiring), "roles_unreadable": int64(s.UnreadableRoles),
		"revocations": int64(s.AllRevocations), "revocations_unreadable": int64(s.UnreadableRevocations),
	}
	for _, count := range roleCounts {
		data[count.field] = int64(s.Roles[count.state])
	}
	for _, count := range revocationCounts {
		data[count.field] = int64(s.Revocations[count.state])
	}
	putTime(data, "admin_token_expires_at", s.AdminExpires)
	putTime(data, "last_compared_at", s.Compared)
	return &logical.Response{Data: data}, nil
}

const statusHelp = `
The response has numbers, flags and texts, and no secret. A person is needed if roles_rejected, roles_failing,
roles_overdue, roles_expiring, roles_unreadable, revocations_retrying, revocations_unconfirmed, revocations_waiting or
revocations_unreadable is not 0, if out_of_sync is true, or if admin_token_state is expired or rejected. The engine
reads storage and does not ask Modal.

Example, for the mount modal/:

  vault read modal/status
`
