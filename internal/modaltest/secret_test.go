// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
)

func TestSecretGetOrCreate_NeedsWriteAccessToTheEnvironment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddEnvironment("dev")
	writer, _ := w.mint(t, "writer")
	reader, _ := w.mint(t, "reader")
	for name, role := range map[string]pb.EnvironmentRole{"writer": contributor, "reader": viewer} {
		requireCode(t, codes.OK, w.assign(t, pb.EnvironmentRoleSetRequest_builder{ServiceUserName: name, EnvironmentName: "main", Role: role}))
	}
	const lookUp, create = pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED, pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS
	for _, step := range []struct {
		caller      string
		environment string
		creation    pb.ObjectCreationType
		want        codes.Code
	}{
		{"reader", "main", lookUp, codes.NotFound},
		{"reader", "main", create, codes.PermissionDenied},
		{"writer", "main", create, codes.OK},
		{"writer", "main", create, codes.AlreadyExists},
		{"reader", "main", lookUp, codes.OK},
		{"writer", "dev", create, codes.NotFound},
		{"writer", "nowhere", create, codes.NotFound},
		{"owner", "dev", create, codes.OK},
	} {
		caller := w.token
		switch step.caller {
		case "writer":
			caller = writer
		case "reader":
			caller = reader
		}
		_, err := w.client.SecretGetOrCreate(withToken(t, caller), pb.SecretGetOrCreateRequest_builder{
			DeploymentName: "key", EnvironmentName: step.environment, ObjectCreationType: step.creation,
		}.Build())
		requireCode(t, step.want, err)
	}
}
