// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"slices"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// serviceDesc is the service of the generated stubs with the newer RPCs added (Python client 1.6.4).
var serviceDesc = func() grpc.ServiceDesc {
	desc := pb.ModalClient_ServiceDesc
	desc.Methods = append(slices.Clone(desc.Methods),
		unary("AuditLogList", func() *dynamicpb.Message { return newMessage("AuditLogListRequest") }, (*controlPlane).AuditLogList),
		unary("TokenDelete", func() *pb.TokenDeleteRequest { return &pb.TokenDeleteRequest{} }, (*controlPlane).TokenDelete),
		unary("TokenDisable", newTokenIDs, (*controlPlane).TokenDisable),
		unary("TokenEnable", newTokenIDs, (*controlPlane).TokenEnable),
		unary("TokensList", func() *emptypb.Empty { return &emptypb.Empty{} }, (*controlPlane).TokensList),
	)
	return desc
}()

// unary describes an RPC as generated code does.
func unary[In, Out proto.Message](name string, request func() In, answer func(*controlPlane, context.Context, In) (Out, error)) grpc.MethodDesc {
	info := &grpc.UnaryServerInfo{FullMethod: "/" + pb.ModalClient_ServiceDesc.ServiceName + "/" + name}
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		req := request()
		if err := decode(req); err != nil {
			return nil, err
		}
		return intercept(ctx, req, info, func(ctx context.Context, _ any) (any, error) {
			return answer(srv.(*controlPlane), ctx, req) //nolint:forcetypeassert // New registers no other
		})
	}}
}

// newerMessages describes the messages that the generated stubs lack, with the fields that the emulator uses.
var newerMessages = func() protoreflect.MessageDescriptors {
	var file descriptorpb.FileDescriptorProto
	err := prototext.Unmarshal([]byte(`
		name: "newer.proto" package: "modal.client" syntax: "proto3"
		message_type { name: "TokenIDs"
			field { name: "token_ids" number: 1 type: TYPE_STRING label: LABEL_REPEATED } }
		message_type { name: "TokensListResponse"
			field { name: "tokens" number: 1 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".modal.client.Token" } }
		message_type { name: "Token"
			field { name: "token_id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "created_at" number: 2 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
			field { name: "workspace_id" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "user_id" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "last_used_at" number: 5 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
			field { name: "member_displayname" number: 6 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "member_id" number: 7 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "name" number: 10 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "expires_at" number: 11 type: TYPE_DOUBLE label: LABEL_OPTIONAL proto3_optional: true oneof_index: 0 }
			field { name: "disabled" number: 12 type: TYPE_BOOL label: LABEL_OPTIONAL }
			oneof_decl { name: "_expires_at" } }
		message_type { name: "EnvironmentRoleDefinition"
			field { name: "environment_role_definition_id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "name" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "description" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "permissions" number: 4 type: TYPE_STRING label: LABEL_REPEATED }
			field { name: "created_at" number: 5 type: TYPE_DOUBLE label: LABEL_OPTIONAL } }
		message_type { name: "AuditLogListRequest"
			field { name: "q" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "oldest_ms" number: 2 type: TYPE_INT64 label: LABEL_OPTIONAL }
			field { name: "newest_ms" number: 3 type: TYPE_INT64 label: LABEL_OPTIONAL }
			field { name: "limit" number: 4 type: TYPE_UINT32 label: LABEL_OPTIONAL } }
		message_type { name: "AuditLogListResponse"
			field { name: "items" number: 1 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".modal.client.AuditLogEntry" } }
		message_type { name: "AuditLogEntry"
			field { name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "actor" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".modal.client.AuditLogActor" }
			field { name: "action" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "event_at" number: 6 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "status" number: 7 type: TYPE_STRING label: LABEL_OPTIONAL } }
		message_type { name: "AuditLogActor"
			field { name: "type" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "id" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
			field { name: "name" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL } }`), &file)
	if err != nil {
		panic("modaltest: read the newer messages: " + err.Error())
	}
	desc, err := protodesc.NewFile(&file, nil)
	if err != nil {
		panic("modaltest: build the newer messages: " + err.Error())
	}
	return desc.Messages()
}()

func newMessage(name protoreflect.Name) *dynamicpb.Message {
	return dynamicpb.NewMessage(newerMessages.ByName(name))
}

// newTokenIDs returns an empty TokenDisableRequest or TokenEnableRequest.
func newTokenIDs() *dynamicpb.Message { return newMessage("TokenIDs") }

func fieldOf(m *dynamicpb.Message, name protoreflect.Name) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(name)
}

func tokenIDs(req *dynamicpb.Message) []string {
	list := req.Get(fieldOf(req, "token_ids")).List()
	ids := make([]string, list.Len())
	for i := range ids {
		ids[i] = list.Get(i).String()
	}
	return ids
}

// listing returns the answer of TokensList for the given tokens.
func listing(tokens []*token) *dynamicpb.Message {
	resp := newMessage("TokensListResponse")
	list := resp.Mutable(fieldOf(resp, "tokens")).List()
	for _, t := range tokens {
		m := newMessage("Token")
		values := map[protoreflect.Name]any{
			"token_id": t.ID, "name": t.name, "disabled": t.disabled,
			"workspace_id": t.workspace.id, "user_id": t.member.id,
			"member_id": t.member.memberID, "member_displayname": t.member.username,
			"created_at": epoch(t.created), "last_used_at": epoch(t.lastUsed),
		}
		if !t.expires.IsZero() {
			values["expires_at"] = epoch(t.expires)
		}
		for name, value := range values {
			m.Set(fieldOf(m, name), protoreflect.ValueOf(value))
		}
		list.Append(protoreflect.ValueOfMessage(m))
	}
	return resp
}
