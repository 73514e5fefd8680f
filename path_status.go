// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"

	"vault-plugin-secrets-modal/internal/engine"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// statusCount is a field of status that counts what is in one state.
type statusCount struct{ field, state, what string }

var roleCounts = []statusCount{
	{"roles_ok", engine.StateOK, "Roles with which all is well."},
	{"roles_overdue", engine.StateOverdue, "Roles whose rotation is late."},
	{"roles_failing", engine.StateFailing, "Roles whose scheduled rotations fail."},
	{"roles_rejected", engine.StateRejected, "Roles whose current token Modal refuses."},
	{"roles_disabled", engine.StateDisabled, "Roles that are rotated on request only."},
}

var revocationCounts = []statusCount{
	{"revocations_pending", engine.StatePending, "Service users of rotations that run, or broke off just now."},
	{"revocations_leased", engine.StateLeased, "Tokens of leases."},
	{"revocations_in_grace", engine.StateGrace, "Tokens in their grace period, which the engine ends then."},
	{"revocations_in_use", engine.StateInUse, "Tokens that live on as they are used."},
	{"revocations_ending", engine.StateEnding, "Tokens that the engine ends within a minute or so."},
	{"revocations_retrying", engine.StateRetrying, "Tokens that the engine could not end yet."},
	{"revocations_unconfirmed", engine.StateUnconfirmed, "Tokens that Modal accepts after it acknowledged their end."},
	{"revocations_waiting", engine.StateWaiting, "Tokens that an operator has to end."},
}

func (b *backend) pathStatus() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "status/?$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "status"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: local(nothing, b.readStatus, "Count roles and revocations by state, for an alarm.", statusFields()),
		},
		HelpSynopsis:    "Count roles and revocations by state: all that an alarm needs, in one read.",
		HelpDescription: strings.TrimSpace(statusHelp),
	}}
}

func statusFields() responses {
	fields := responses{
		"roles":                  required(number("All roles.")),
		"revocations":            required(number("All tokens that the engine has not yet seen refused.")),
		fieldPaused:              required(flag("Whether the engine does nothing at Modal by itself.")),
		"out_of_sync":            required(flag("Whether Modal has service users of this mount that nothing here answers for, so that it ends nothing by itself.")),
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

func (b *backend) readStatus(ctx context.Context, _ *logical.Request, _ struct{}) (*logical.Response, error) {
	s, err := b.engine.Status(ctx)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"roles": int64(s.AllRoles), "revocations": int64(s.AllRevocations),
		fieldPaused: s.Paused, "out_of_sync": s.OutOfSync, "admin_token_state": s.Admin,
	}
	for _, count := range roleCounts {
		data[count.field] = int64(s.Roles[count.state])
	}
	for _, count := range revocationCounts {
		data[count.field] = int64(s.Revocations[count.state])
	}
	putTime(data, "admin_token_expires_at", s.AdminExpires)
	putTime(data, "last_compared_at", s.Compared)
	resp := &logical.Response{Data: data}
	warnUnreadable(resp, "roles", s.UnreadableRoles)
	warnUnreadable(resp, "entries", s.UnreadableRevocations)
	return resp, nil
}

const statusHelp = `
Numbers, flags and strings alone, and no secret. Somebody is needed where roles_rejected, roles_failing,
roles_overdue, revocations_retrying, revocations_unconfirmed or revocations_waiting is not 0, where
out_of_sync is true, and where admin_token_state is expired or rejected. It tells what the engine knows: Modal is not asked.
`
