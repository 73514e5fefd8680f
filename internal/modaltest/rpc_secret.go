// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// SecretGetOrCreate is the only RPC of the emulator that writes in an environment. Tests use it to check the
// effect of a role. The emulator stores only the secret's name.
//
// Assumed: the codes and texts, and that a viewer may look up a secret but not create it.
func (c *controlPlane) SecretGetOrCreate(ctx context.Context, req *pb.SecretGetOrCreateRequest) (*pb.SecretGetOrCreateResponse, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	env, found := caller.workspace.environment(req.GetEnvironmentName())
	if !found || !caller.sees(env) {
		return nil, status.Errorf(codes.NotFound, "Environment '%s' not found", req.GetEnvironmentName())
	}
	name := req.GetDeploymentName()
	id, exists := env.secrets[name]
	switch creation := req.GetObjectCreationType(); {
	case creation == pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED && !exists:
		return nil, status.Errorf(codes.NotFound, "Secret '%s' not found", name)
	case creation == pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED:
	case !caller.writes(env):
		return nil, status.Errorf(codes.PermissionDenied, "Viewers cannot create secrets in environment '%s'", env.name)
	case creation == pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS && exists:
		return nil, status.Errorf(codes.AlreadyExists, "Secret '%s' already exists", name)
	case !exists:
		id = randomID("st-")
		env.secrets[name] = id
	}
	return pb.SecretGetOrCreateResponse_builder{
		SecretId: id, Metadata: pb.SecretMetadata_builder{Name: name}.Build(),
	}.Build(), nil
}
