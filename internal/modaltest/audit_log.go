// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// auditEntry is an entry of a workspace's audit log (Python client 1.6.4, AuditLogEntry).
type auditEntry struct {
	workspace           *Workspace
	actorType, id, name string
	action              string
	at                  time.Time
}

// auditActions are the RPCs that the audit log records, with the names of their actions.
//
// Assumed: the names, and that the log has successful changes only, not the plain use of a token.
var auditActions = map[string]string{
	"ServiceUserCreate":  "service_user.create",
	"ServiceUserDelete":  "service_user.delete",
	"EnvironmentRoleSet": "environment_role.set",
	"TokenDelete":        "token.delete",
	"TokenDisable":       "token.disable",
	"TokenEnable":        "token.enable",
}

// auditCall records a successful call of the token's owner. The types of actors are those of Modal's proto.
func (s *Server) auditCall(t token, method string) {
	action, recorded := auditActions[method]
	if !recorded {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := auditEntry{workspace: t.workspace, action: action, at: s.now()}
	if t.serviceUser != nil {
		entry.actorType, entry.id, entry.name = "service_user", t.serviceUser.id, t.serviceUser.name
	} else {
		entry.actorType, entry.id, entry.name = "user", t.member.id, t.member.username
	}
	s.audit = append(s.audit, entry)
}

// AuditLogList lists entries of the workspace's audit log, newest first. The newest bound is exclusive, the oldest bound
// inclusive (Python client 1.6.4, api.proto).
//
// Assumed: owners and managers may ask, in every plan. There is one page, and a query is INVALID_ARGUMENT.
func (c *controlPlane) AuditLogList(ctx context.Context, req *dynamicpb.Message) (*dynamicpb.Message, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if caller.member == nil || caller.member.role == RoleUser {
		return nil, status.Error(codes.PermissionDenied, "Only workspace owners and managers can read the audit log")
	}
	if req.Get(fieldOf(req, "q")).String() != "" {
		return nil, status.Error(codes.InvalidArgument, "the emulator does not search the audit log")
	}
	oldest, newest := req.Get(fieldOf(req, "oldest_ms")).Int(), req.Get(fieldOf(req, "newest_ms")).Int()
	limit := int(req.Get(fieldOf(req, "limit")).Uint()) //nolint:gosec // 32 bits fit
	resp := newMessage("AuditLogListResponse")
	items := resp.Mutable(fieldOf(resp, "items")).List()
	for i := len(c.server.audit) - 1; i >= 0 && (limit == 0 || items.Len() < limit); i-- {
		entry := c.server.audit[i]
		if at := entry.at.UnixMilli(); entry.workspace == caller.workspace && oldest <= at && at < newest {
			items.Append(protoreflect.ValueOfMessage(entry.message(fmt.Sprintf("al-%d", i))))
		}
	}
	return resp, nil
}

func (e *auditEntry) message(id string) *dynamicpb.Message {
	actor, m := newMessage("AuditLogActor"), newMessage("AuditLogEntry")
	for name, text := range map[protoreflect.Name]string{"type": e.actorType, "id": e.id, "name": e.name} {
		actor.Set(fieldOf(actor, name), protoreflect.ValueOfString(text))
	}
	m.Set(fieldOf(m, "actor"), protoreflect.ValueOfMessage(actor))
	for name, text := range map[protoreflect.Name]string{
		"id": id, "action": e.action, "event_at": e.at.UTC().Format(time.RFC3339Nano), "status": "success",
	} {
		m.Set(fieldOf(m, name), protoreflect.ValueOfString(text))
	}
	return m
}
