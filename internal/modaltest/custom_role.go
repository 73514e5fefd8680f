// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"fmt"
	"slices"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// custom is ENVIRONMENT_ROLE_CUSTOM, which the generated stubs lack (Python client 1.6.4, api.proto).
const custom pb.EnvironmentRole = 5

// These are the numbers of fields that the generated stubs lack (Python client 1.6.4, api.proto).
const (
	fieldDefinitionID    protowire.Number = 8  // of EnvironmentRoleSetRequest
	fieldEntryDefinition protowire.Number = 6  // of ServiceUser.EnvironmentRoleEntry
	fieldDefinition      protowire.Number = 13 // of EnvironmentGetRolesResponse.Principal
	fieldChoosable       protowire.Number = 14 // of EnvironmentGetRolesResponse.Principal
)

// customRole is a role for environments that a workspace has defined. No RPC creates one (Python client 1.6.4).
type customRole struct {
	id, name    string
	permissions []string
	created     time.Time
}

// AddCustomRole defines a role for environments, as a person does on the dashboard, and returns its ID, rd-…. It panics
// if the name is in use.
//
// Assumed: the permissions are texts without a meaning to the emulator, and the role may do what a contributor may.
func (w *Workspace) AddCustomRole(name string, permissions ...string) (id string) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if _, err := w.namedRole(name); err == nil {
		panic(fmt.Sprintf("modaltest: add custom role %q: the name is taken", name))
	}
	role := &customRole{id: randomID("rd-"), name: name, permissions: permissions, created: w.server.now()}
	w.customRoles = append(w.customRoles, role)
	return role.id
}

// grant is a role in an environment. The zero grant is no assignment.
type grant struct {
	role   pb.EnvironmentRole
	custom *customRole // set if, and only if, role is custom
}

// word returns the text for the role. Assumed: the text for a custom role is its name.
func (g grant) word() string {
	if g.custom != nil {
		return g.custom.name
	}
	return roleWords[g.role]
}

// namedRole returns the role with that text. The caller must lock the server.
func (w *Workspace) namedRole(word string) (grant, error) {
	for role, text := range roleWords {
		if text == word {
			return grant{role: role}, nil
		}
	}
	i := slices.IndexFunc(w.customRoles, func(r *customRole) bool { return r.name == word })
	if i < 0 {
		return grant{}, status.Errorf(codes.InvalidArgument, "Invalid environment role '%s'", word)
	}
	return grant{custom, w.customRoles[i]}, nil
}

// customRole returns the custom role with that ID. The caller must lock the server.
//
// Assumed: an unknown ID is NOT_FOUND.
func (w *Workspace) customRole(id string) (grant, error) {
	i := slices.IndexFunc(w.customRoles, func(r *customRole) bool { return r.id == id })
	if i < 0 {
		return grant{}, status.Errorf(codes.NotFound, "Environment role '%s' not found", id)
	}
	return grant{custom, w.customRoles[i]}, nil
}

// append adds the definition of the custom role to a message, as a field that the generated stubs lack.
func (r *customRole) append(m proto.Message, field protowire.Number) {
	definition := newMessage("EnvironmentRoleDefinition")
	for name, value := range map[protoreflect.Name]any{
		"environment_role_definition_id": r.id, "name": r.name, "created_at": epoch(r.created),
	} {
		definition.Set(fieldOf(definition, name), protoreflect.ValueOf(value))
	}
	permissions := definition.Mutable(fieldOf(definition, "permissions")).List()
	for _, permission := range r.permissions {
		permissions.Append(protoreflect.ValueOfString(permission))
	}
	encoded, err := proto.Marshal(definition)
	if err != nil {
		panic("modaltest: encode a custom role: " + err.Error())
	}
	unknown := protowire.AppendTag(m.ProtoReflect().GetUnknown(), field, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendBytes(unknown, encoded))
}

// definitionID returns the ID of the custom role in a request, which the generated stubs do not decode.
func definitionID(req *pb.EnvironmentRoleSetRequest) (id string) {
	for rest := []byte(req.ProtoReflect().GetUnknown()); len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		rest = rest[n:]
		if number == fieldDefinitionID && kind == protowire.BytesType {
			id, _ = protowire.ConsumeString(rest)
		}
		rest = rest[protowire.ConsumeFieldValue(number, kind, rest):]
	}
	return id
}
