// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// Admin is the admin token, with a connection to Modal on which to use it. The caller must call Release exactly once.
type Admin struct {
	Modal

	// Token is the admin token's ID and secret.
	Token modalapi.Token
	// Release closes the connection.
	Release func()

	// owner describes the token's owner in messages.
	owner string
	// command is the Vault command that replaces the token.
	command string
}

// Admin returns the admin token, ready for use. Otherwise the error tells an operator what to do.
func (m *Mount) Admin(cfg *model.Config) (*Admin, error) {
	switch {
	case cfg.Admin == nil:
		return nil, model.UserErrorf("config has no admin token, and managed and dynamic roles need the token of an owner or manager of the workspace: %s", m.Commands().WriteAdmin())
	case !cfg.Admin.Verified():
		return nil, model.UserErrorf("the admin token %s was stored unverified, so its workspace is not known: write it again without verify=false: %s", cfg.Admin.ID, m.Commands().WriteAdmin())
	case cfg.Limitation != "":
		return nil, model.UserErrorf("the admin token %s of %s cannot manage service users (%s): write another admin token: %s",
			cfg.Admin.ID, cfg.Admin.DescribeOwner(), cfg.Limitation, m.Commands().WriteAdmin())
	}
	client, release, err := m.Connect(cfg)
	if err != nil {
		return nil, err
	}
	return &Admin{Modal: client, Token: cfg.Admin.APIToken(), owner: cfg.Admin.DescribeOwner(), command: m.Commands().WriteAdmin(), Release: release}, nil
}

// Explain returns an error that names the admin token, or Modal's plan, if that caused the error.
func (a *Admin) Explain(err error) error {
	err = modalapi.AsUnavailable(err)
	switch modalapi.KindOf(err) {
	case modalapi.KindRefused:
		return model.UserErrorf("Modal rejected the admin token %s of %s: %s; write a new admin token: %s", a.Token.ID, a.owner, modalapi.Said(err), a.command)
	case modalapi.KindForbidden:
		return model.UserErrorf("the admin token %s of %s may not manage service users: %s; write an admin token of an owner or manager: %s", a.Token.ID, a.owner, modalapi.Said(err), a.command)
	case modalapi.KindUnsupported, modalapi.KindConflict:
		return model.UserErrorf("Modal does not offer this for the workspace: %s; Modal offers service users in shared workspaces, on its Team and Enterprise plans; elsewhere use static roles", modalapi.Said(err))
	default:
		return err
	}
}

// AdminLimitation returns why an admin token cannot manage service users. It is empty if the token can. It returns an
// error if Modal did not answer the question.
func (m *Mount) AdminLimitation(ctx context.Context, cfg *model.Config, verified model.Token) (string, error) {
	if verified.IdentityType == modalapi.IdentityServiceUser {
		return "it belongs to a service user, and only an owner or manager may manage service users", nil
	}
	client, release, err := m.Connect(cfg)
	if err != nil {
		return "", err
	}
	defer release()
	_, err = client.ServiceUsers(ctx, verified.APIToken())
	switch modalapi.KindOf(err) {
	case modalapi.KindNone:
	case modalapi.KindUnavailable, modalapi.KindThrottled, modalapi.KindRefused:
		return "", modalapi.AsUnavailable(err)
	default:
		return err.Error(), nil
	}
	// Modal answered the list, so the token can manage service users. An unknown role is no reason to fail.
	role, err := client.MemberRole(ctx, verified.APIToken(), verified.IdentityID)
	if err != nil {
		m.Log().Debug("cannot tell the role of the admin token's user in the workspace", "error", err)
		return "", nil
	}
	if role == modalapi.MemberUser {
		return "its user is neither owner nor manager of the workspace", nil
	}
	return "", nil
}

// CheckReach is model.Config.CheckReach, and adds to the error the command that corrects the config.
func (m *Mount) CheckReach(cfg *model.Config, t model.Token) error {
	if err := cfg.CheckReach(t); err != nil {
		return model.UserErrorf("%s: %s", err, m.Commands().WriteAdmin())
	}
	return nil
}

// FindServiceUser finds a service user by name. If Modal cannot look up a single service user, it searches the list
// of all.
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
