// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// auditLogList is a call that the generated stubs lack, and that Modal's Python client has since 1.6.3.
const auditLogList = "/modal.client.ModalClient/AuditLogList"

// AuditEntry is an entry of a workspace's audit log.
type AuditEntry struct {
	// ActorType is Modal's text: "user", "service_user", "oauth_grant" or "system".
	ActorType, ActorID string
	// Action is Modal's text. Its possible values are not known.
	Action string
}

// AuditLog returns the entries between two times, the newest first, at most maxAuditEntries of them (AuditLogList). The
// engine does not call AuditLog: only tools/acceptance does, because it is not known who may. AuditLog returns an *Error,
// with KindUnsupported if the server does not have the call.
func (c *Client) AuditLog(ctx context.Context, t Token, oldest, newest time.Time) ([]AuditEntry, error) {
	ctx, err := withToken(ctx, t)
	if err != nil {
		return nil, err
	}
	// The stubs have no message for the request either, so its fields are encoded here (Python client 1.6.4, api.proto).
	var fields []byte
	for number, content := range map[protowire.Number]int64{2: oldest.UnixMilli(), 3: newest.UnixMilli(), 4: maxAuditEntries} {
		fields = protowire.AppendVarint(protowire.AppendTag(fields, number, protowire.VarintType), uint64(content)) //nolint:gosec // no time before 1970
	}
	request := &emptypb.Empty{}
	request.ProtoReflect().SetUnknown(fields)
	clean := newRedactor(t.Secret)
	entries := list{what: "entries of the audit log", field: 1, most: maxAuditEntries, limit: maxList, clean: clean}
	return listOf(ctx, c, auditLogList, request, entries, clean.auditEntry)
}

func (r *redactor) auditEntry(encoded []byte) (entry AuditEntry, err error) {
	err = eachField(encoded, func(field int, v value) error {
		switch field {
		case 2: // actor
			return eachField(v.bytes, func(field int, v value) error {
				switch field {
				case 1: // type
					entry.ActorType = r.repeatedName(v)
				case 2: // id
					entry.ActorID = r.id(r.text(v))
				}
				return nil
			})
		case 3: // action
			entry.Action = r.repeatedName(v)
		}
		return nil
	})
	return entry, err
}
