// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"regexp"
	"strings"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// environmentName is the rule for names of new environments (Go SDK, name_utils.go). The prefix en- is not
// allowed either, because it is reserved for IDs.
var environmentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// EnvironmentList lists the environments to which the caller has access, with the role that the caller has there.
func (c *controlPlane) EnvironmentList(ctx context.Context, _ *emptypb.Empty) (*pb.EnvironmentListResponse, error) {
	caller := callerOf(ctx)
	workspace := caller.workspace
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	var items []*pb.EnvironmentListItem
	for i, env := range workspace.environments {
		if !caller.sees(env) {
			continue
		}
		effective, _ := caller.effective(env)
		items = append(items, pb.EnvironmentListItem_builder{
			EnvironmentId: env.id,
			Name:          env.name,
			WebhookSuffix: webhookSuffix(workspace, env),
			CreatedAt:     epoch(env.created),
			Default:       i == 0,
			EffectiveRole: effective.role.Enum(),
		}.Build())
	}
	return pb.EnvironmentListResponse_builder{Items: items}.Build(), nil
}

// EnvironmentGetOrCreate looks up an environment and creates it on request. An empty name means the default
// environment.
//
// Assumed: every caller may create an environment, except a scoped service user, which would have no access
// to it.
func (c *controlPlane) EnvironmentGetOrCreate(ctx context.Context, req *pb.EnvironmentGetOrCreateRequest) (*pb.EnvironmentGetOrCreateResponse, error) {
	caller := callerOf(ctx)
	workspace := caller.workspace
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	env, err := caller.getOrCreate(req.GetDeploymentName(), req.GetObjectCreationType())
	if err != nil {
		return nil, err
	}
	return pb.EnvironmentGetOrCreateResponse_builder{
		EnvironmentId: env.id,
		Metadata: pb.EnvironmentMetadata_builder{
			Name: env.name,
			Settings: pb.EnvironmentSettings_builder{
				ImageBuilderVersion: imageBuilderVersion,
				WebhookSuffix:       webhookSuffix(workspace, env),
			}.Build(),
		}.Build(),
	}.Build(), nil
}

// getOrCreate looks up or creates an environment. The caller must lock the server.
//
// Assumed: an environment without access always looks as if it did not exist.
func (t *token) getOrCreate(name string, creation pb.ObjectCreationType) (environment, error) {
	env, found := t.workspace.environment(name)
	if found && !t.sees(env) {
		return env, status.Errorf(codes.NotFound, "Environment '%s' not found", env.name)
	}
	switch creation {
	case pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED:
		if !found {
			return env, status.Errorf(codes.NotFound, "Environment '%s' not found", name)
		}
		return env, nil
	case pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
		if found {
			return env, nil
		}
	case pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS:
		if found {
			return env, status.Errorf(codes.AlreadyExists, "Environment '%s' already exists", env.name)
		}
	default:
		// Assumed: code and text.
		return env, status.Errorf(codes.InvalidArgument, "unsupported creation type %d", creation)
	}
	if !environmentName.MatchString(name) || strings.HasPrefix(name, "en-") {
		return env, status.Errorf(codes.InvalidArgument, "Invalid environment name '%s'", name)
	}
	if t.scoped() {
		return env, status.Error(codes.PermissionDenied, "Scoped service users cannot create environments")
	}
	return t.workspace.addEnvironment(name), nil
}

// webhookSuffix returns the suffix of an environment. Assumed: the default environment has no suffix, and
// every other environment has its name as suffix.
func webhookSuffix(w *Workspace, env environment) string {
	if env.id == w.environments[0].id {
		return ""
	}
	return env.name
}
