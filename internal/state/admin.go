// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// Admin is the token with which the engine manages service users, and a connection to Modal to use it
// on. Release it exactly once.
type Admin struct {
	Modal

	// Token is the admin token's pair.
	Token modalapi.Token
	// Release closes the connection.
	Release func()

	owner   string
	command string // the command that writes another token
}

// Admin returns the admin token ready for use, or what an operator has to do to have one.
func (m *Mount) Admin(cfg *model.Config) (*Admin, error) {
	switch {
	case cfg.Admin == nil:
		return nil, model.UserErrorf("managed roles need an admin token, of an owner or manager of the workspace, and config has none: %s", m.WriteAdmin())
	case !cfg.Admin.Verified():
		return nil, model.UserErrorf("the admin token %s was stored unproven, so its workspace is not known: write it again, without verify=false: %s", cfg.Admin.ID, m.WriteAdmin())
	case cfg.Limitation != "":
		return nil, model.UserErrorf("the admin token %s of %s cannot manage service users (%s): write another one: %s",
			cfg.Admin.ID, cfg.Admin.DescribeOwner(), cfg.Limitation, m.WriteAdmin())
	}
	client, release, err := m.Connect(cfg)
	if err != nil {
		return nil, err
	}
	return &Admin{Modal: client, Token: cfg.Admin.APIToken(), owner: cfg.Admin.DescribeOwner(), command: m.WriteAdmin(), Release: release}, nil
}

// WriteAdmin is the command that brings another admin token.
func (m *Mount) WriteAdmin() string {
	return fmt.Sprintf("vault write %sconfig token_id=… token_secret=-", m.CommandPrefix())
}

// Explain names the admin token in an error that is about it, and the plan where that is the reason.
func (a *Admin) Explain(err error) error {
	err = modalapi.AsUnavailable(err)
	switch modalapi.KindOf(err) {
	case modalapi.KindRefused:
		return model.UserErrorf("Modal refused the admin token %s of %s: %s; write a new one: %s", a.Token.ID, a.owner, modalapi.Said(err), a.command)
	case modalapi.KindForbidden:
		return model.UserErrorf("the admin token %s of %s may not manage service users: %s; write one of an owner or manager: %s", a.Token.ID, a.owner, modalapi.Said(err), a.command)
	case modalapi.KindUnsupported, modalapi.KindConflict:
		return model.UserErrorf("Modal does not do this for the workspace: %s; service users come with its Team and Enterprise plans, in shared workspaces; use static roles otherwise", modalapi.Said(err))
	default:
		return err
	}
}

// AdminLimitation is why an admin token cannot manage service users, "" when it can. It is an error only
// when Modal did not say.
func (m *Mount) AdminLimitation(ctx context.Context, cfg *model.Config, proven model.Token) (string, error) {
	if proven.IdentityType == modalapi.IdentityServiceUser {
		return "it belongs to a service user, and only an owner or manager may manage service users", nil
	}
	client, release, err := m.Connect(cfg)
	if err != nil {
		return "", err
	}
	defer release()
	_, err = client.ServiceUsers(ctx, proven.APIToken())
	switch modalapi.KindOf(err) {
	case modalapi.KindNone:
	case modalapi.KindUnavailable, modalapi.KindThrottled, modalapi.KindRefused:
		return "", modalapi.AsUnavailable(err)
	default:
		return err.Error(), nil
	}
	// The list was answered, which is what is needed; the role only tells more.
	role, err := client.MemberRole(ctx, proven.APIToken(), proven.IdentityID)
	if err != nil {
		m.Log().Debug("the admin's role in the workspace is not known", "error", err)
		return "", nil
	}
	if role == modalapi.MemberUser {
		return "its user is neither owner nor manager of the workspace", nil
	}
	return "", nil
}

// CheckReach is Config.reaches with the command that mends it.
func (m *Mount) CheckReach(cfg *model.Config, t model.Token) error {
	if err := cfg.CheckReach(t); err != nil {
		return model.UserErrorf("%s: %s", err, m.WriteAdmin())
	}
	return nil
}

// FindServiceUser looks a service user up by its name: in the list of all where Modal does not tell of
// one.
func (a *Admin) FindServiceUser(ctx context.Context, name string) (modalapi.ServiceUser, error) {
	user, err := a.ServiceUser(ctx, a.Token, name)
	if modalapi.KindOf(err) != modalapi.KindUnsupported {
		return user, err
	}
	users, err := a.ServiceUsers(ctx, a.Token)
	if err != nil {
		return modalapi.ServiceUser{}, err
	}
	for _, user := range users {
		if user.Name == name {
			return user, nil
		}
	}
	return modalapi.ServiceUser{}, &modalapi.Error{Kind: modalapi.KindNotFound, RPC: "ServiceUserList", Message: "no service user has this name"}
}
