// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// admin is the token with which the engine manages service users, and a connection to Modal to use it
// on. Release it exactly once.
type admin struct {
	Modal

	token   modalapi.Token
	owner   string
	mend    string // the command that brings another
	release func()
}

// admin returns the admin token ready for use, or what an operator has to do to have one.
func (e *Engine) admin(cfg *Config) (*admin, error) {
	switch {
	case cfg.Admin == nil:
		return nil, Refusef("managed roles need an admin token, of an owner or manager of the workspace, and config has none: %s", e.writeAdmin())
	case !cfg.Admin.Verified():
		return nil, Refusef("the admin token %s was stored unproven, so its workspace is not known: write it again, without verify=false: %s", cfg.Admin.ID, e.writeAdmin())
	case cfg.Limitation != "":
		return nil, Refusef("the admin token %s of %s cannot manage service users (%s): write another one: %s",
			cfg.Admin.ID, cfg.Admin.owner(), cfg.Limitation, e.writeAdmin())
	}
	client, release, err := e.connect(cfg)
	if err != nil {
		return nil, err
	}
	return &admin{Modal: client, token: cfg.Admin.pair(), owner: cfg.Admin.owner(), mend: e.writeAdmin(), release: release}, nil
}

// writeAdmin is the command that brings another admin token.
func (e *Engine) writeAdmin() string {
	return fmt.Sprintf("vault write %sconfig token_id=… token_secret=-", e.mount())
}

// explain names the admin token in an error that is about it, and the plan where that is the reason.
func (a *admin) explain(err error) error {
	err = modalapi.AsUnavailable(err)
	switch modalapi.KindOf(err) {
	case modalapi.KindRefused:
		return Refusef("Modal refused the admin token %s of %s: %s; write a new one: %s", a.token.ID, a.owner, modalapi.Said(err), a.mend)
	case modalapi.KindForbidden:
		return Refusef("the admin token %s of %s may not manage service users: %s; write one of an owner or manager: %s", a.token.ID, a.owner, modalapi.Said(err), a.mend)
	case modalapi.KindUnsupported, modalapi.KindConflict:
		return Refusef("Modal does not do this for the workspace: %s; service users come with its Team and Enterprise plans, in shared workspaces; use static roles otherwise", modalapi.Said(err))
	default:
		return err
	}
}

// limitation is why an admin token cannot manage service users, "" when it can. It is an error only
// when Modal did not say.
func (e *Engine) limitation(ctx context.Context, cfg *Config, proven Token) (string, error) {
	if proven.IdentityType == modalapi.IdentityServiceUser {
		return "it belongs to a service user, and only an owner or manager may manage service users", nil
	}
	client, release, err := e.connect(cfg)
	if err != nil {
		return "", err
	}
	defer release()
	_, err = client.ServiceUsers(ctx, proven.pair())
	switch modalapi.KindOf(err) {
	case modalapi.KindNone:
	case modalapi.KindUnavailable, modalapi.KindThrottled, modalapi.KindRefused:
		return "", modalapi.AsUnavailable(err)
	default:
		return err.Error(), nil
	}
	// The list was answered, which is what is needed; the role only tells more.
	role, err := client.MemberRole(ctx, proven.pair(), proven.IdentityID)
	if err != nil {
		e.log().Debug("the admin's role in the workspace is not known", "error", err)
		return "", nil
	}
	if role == modalapi.MemberUser {
		return "its user is neither owner nor manager of the workspace", nil
	}
	return "", nil
}
