// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Modal lists the calls that the engine makes to Modal. modalapi.Client implements it and documents the calls. It is
// safe for concurrent use.
type Modal interface {
	WhoAmI(ctx context.Context, t modalapi.Token) (modalapi.Identity, error)
	CreateServiceUser(ctx context.Context, admin modalapi.Token, u modalapi.NewServiceUser) (modalapi.MintedServiceUser, error)
	DeleteServiceUser(ctx context.Context, admin modalapi.Token, id string) error
	ServiceUser(ctx context.Context, admin modalapi.Token, name string) (modalapi.ServiceUser, error)
	ServiceUsers(ctx context.Context, admin modalapi.Token) ([]modalapi.ServiceUser, error)
	Environments(ctx context.Context, t modalapi.Token) ([]modalapi.Environment, error)
	SetEnvironmentRole(ctx context.Context, admin modalapi.Token, serviceUserID, environmentID string, role modalapi.EnvironmentRole) error
	MemberTokens(ctx context.Context, caller modalapi.Token) ([]modalapi.MemberToken, error)
	DeleteToken(ctx context.Context, caller modalapi.Token, id string) error
	BeginTokenFlow(ctx context.Context, life time.Duration) (modalapi.TokenFlow, error)
	AwaitTokenFlow(ctx context.Context, flow modalapi.TokenFlow, wait time.Duration) (*modalapi.ApprovedToken, error)
	MemberRole(ctx context.Context, admin modalapi.Token, userID string) (modalapi.MemberRole, error)
	Close() error
}
