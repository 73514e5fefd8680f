// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"maps"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
)

func (b *Backend) pathConfig() []*framework.Path {
	return []*framework.Path{{
		Pattern: "config/?$",
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix, OperationSuffix: "configuration",
		},
		Fields: map[string]*framework.FieldSchema{
			fieldServerURL: {
				Type:         framework.TypeString,
				Description:  "Modal's control plane, as https://host:port (default https://api.modal.com:443). Only a loopback address may use http.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Server URL", Value: "https://api.modal.com:443"},
			},
			fieldCACert: {
				Type:         framework.TypeString,
				Description:  "PEM certificates that the server's certificate must chain to, instead of the system's roots.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "CA certificate", EditType: "textarea"},
			},
			fieldRequestTimeout: {
				Type:         framework.TypeDurationSecond,
				Description:  "Time limit of one call to Modal with its retries (default 15s, 1s to 2m).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Request timeout", Value: "15s"},
			},
			fieldAllowedEnvironments: {
				Type:         framework.TypeCommaStringSlice,
				Description:  "Environments that managed and dynamic roles may name (default: all).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Allowed environments"},
			},
			fieldMaxEnvironmentRole: {
				Type: framework.TypeString, AllowedValues: []any{"viewer", "contributor"},
				Description:  "Highest environment role of managed and dynamic roles (default contributor).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Most powerful environment role"},
			},
			request.FieldTokenID:     tokenIDField(),
			request.FieldTokenSecret: tokenSecretField(),
			request.FieldVerify:      verifyField(),
			request.FieldGracePeriod: gracePeriodField("How long the admin token that this write replaces stays valid (default 1h)."),
			fieldRemoveAdmin: {
				Type:         framework.TypeBool,
				Description:  "Remove the admin token. The engine does not delete it at Modal.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Remove admin token"},
			},
			fieldPinnedWorkspace: pinnedWorkspaceField("Name or ID (ac-…) of the workspace that every supplied or approved token must belong to (default: none)."),
			fieldForce: {
				Type: framework.TypeBool, Query: true,
				Description:  "Accept an admin token of another workspace, and certificates that let another server receive stored tokens. It accepts no token outside of pinned_workspace.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Force"},
			},
			fieldVerificationInterval: {
				Type:         framework.TypeDurationSecond,
				Description:  "How often the engine asks whether Modal still accepts each current token (default 24h, from 10m; 0: never).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Verification interval", Value: "24h"},
			},
			fieldPaused: {
				Type:         framework.TypeBool,
				Description:  "Stop all work that the engine does at Modal by itself: rotations on schedule, verifications and revocations, also of leases. Operators still can do all of it (default false).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Paused"},
			},
		},
		ExistenceCheck: func(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (bool, error) {
			cfg, err := b.engine.Configs.Read(ctx)
			return cfg != nil, err
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation:   local(noFields, b.readConfig, "Read how the engine reaches Modal, and its admin token.", configFields()),
			logical.CreateOperation: forwarded(parseConfig, b.writeConfig, "Configure how the engine reaches Modal, and its admin token.", configWrittenFields()),
			logical.UpdateOperation: forwarded(parseConfig, b.writeConfig, "Configure how the engine reaches Modal, and its admin token.", configWrittenFields()),
			logical.DeleteOperation: forwarded(parseForce, b.deleteConfig, "Return to the defaults, without an admin token.", nil),
		},
		HelpSynopsis:    "Configure how the engine reaches Modal, and its admin token.",
		HelpDescription: strings.TrimSpace(configHelp),
	}}
}

func parseConfig(in *request.Decoder) model.ConfigWrite {
	ask := model.ConfigWrite{
		Supplied:            in.Token(request.EmptyToken + "; remove_admin_token=true removes the admin token"),
		RemoveAdmin:         in.Flag(fieldRemoveAdmin).Apply(false, false),
		Force:               parseForce(in),
		PinnedWorkspace:     request.CheckedText(in, fieldPinnedWorkspace, model.MaxWorkspace, parseWorkspace),
		ServerURL:           request.CheckedText(in, fieldServerURL, model.MaxServerURL, parseServerURL),
		CACert:              request.CheckedText(in, fieldCACert, model.MaxCACert, parseCACert),
		RequestTimeout:      in.Duration(fieldRequestTimeout, model.MinRequestTimeout, model.MaxRequestTimeout),
		AllowedEnvironments: request.Field(in, fieldAllowedEnvironments, request.ParseEnvironments),
		MaxEnvironmentRole:  request.CheckedText(in, fieldMaxEnvironmentRole, request.MaxNameLength, request.ParseEnvironmentRole),
		Paused:              in.Flag(fieldPaused),
	}
	ask.Grace = in.GracePeriod()
	ask.VerificationInterval = in.OptionalDuration(fieldVerificationInterval, model.MinVerification, model.MaxVerification)
	if ask.RemoveAdmin && ask.Token != nil {
		in.Refuse(fieldRemoveAdmin, "a new token_id and token_secret replace the admin token: write one or the other")
	}
	return ask
}

func parseForce(in *request.Decoder) bool { return in.Flag(fieldForce).Apply(false, false) }

// workspaceName matches the name or the ID of a workspace.
var workspaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

func parseWorkspace(text string) (workspace, mistake string) {
	text = strings.TrimSpace(text)
	if !workspaceName.MatchString(text) {
		return "", "write the name or the ID (ac-…) of a workspace: a read of config shows both"
	}
	return text, ""
}

func parseServerURL(text string) (url, mistake string) {
	url, err := modalapi.ParseServerURL(text)
	if err != nil {
		return "", strings.TrimPrefix(err.Error(), fieldServerURL+" ")
	}
	return url, ""
}

func parseCACert(text string) (pem, mistake string) {
	if err := modalapi.CheckCACert(text); err != nil {
		return "", strings.TrimPrefix(err.Error(), fieldCACert+" ")
	}
	if strings.TrimSpace(text) == "" {
		return "", "holds no certificate"
	}
	return text, ""
}

func (b *Backend) readConfig(ctx context.Context, _ *logical.Request, _ struct{}) (*logical.Response, error) {
	cfg, err := b.engine.Configs.Read(ctx)
	if err != nil || cfg == nil {
		return nil, err
	}
	resp := &logical.Response{Data: b.configView(cfg)}
	id, err := b.engine.Workspaces.PinnedID(ctx, cfg)
	if err != nil {
		return nil, err
	}
	putText(resp.Data, fieldPinnedWorkspaceID, id)
	if warning := b.engine.Mount.AdminExpiryWarning(cfg); warning != "" {
		resp.AddWarning(warning)
	}
	return resp, nil
}

func (b *Backend) writeConfig(ctx context.Context, req *logical.Request, ask model.ConfigWrite) (*logical.Response, error) {
	ask.Expect = expectationOf(req)
	done, err := b.engine.Configs.Write(ctx, ask)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: b.configWrittenView(done.Config), Warnings: done.Warnings}, nil
}

func (b *Backend) deleteConfig(ctx context.Context, _ *logical.Request, force bool) (*logical.Response, error) {
	warnings, err := b.engine.Configs.Delete(ctx, force)
	if err != nil {
		return nil, err
	}
	return orNothing(&logical.Response{Warnings: warnings}), nil
}

// orNothing returns nil for a response without warnings, so that Vault answers 204.
func orNothing(resp *logical.Response) *logical.Response {
	if len(resp.Warnings) == 0 && len(resp.Data) == 0 {
		return nil
	}
	return resp
}

const configHelp = `
Static roles on Modal itself need no config. server_url, ca_cert and request_timeout say how the engine reaches Modal.
Roles cannot change them, so no role can send a secret to another server.

token_id and token_secret are the optional admin token: an account token of an owner or manager of the workspace. The
engine asks Modal about the token before it stores the token. remove_admin_token=true removes it. A replaced admin
token enters the revocation queue and deletes itself after grace_period (1h). A removed admin token stays in the
queue until people delete it at Modal. A read returns the owner of the admin token, its dates, and whether it can
manage service users. A read never returns the secret.

The mount remembers the workspace of its last verified admin token, also after a delete. An admin token of another
workspace needs force=true, and verify=false is refused. pinned_workspace names the workspace that every supplied or
approved token must belong to. force does not override it.

The engine sends a stored secret only to a server that has accepted the token. While an admin token is stored, a write
of another server_url or ca_cert must bring an admin token that the new server accepts. While other tokens are stored,
certificates that let another server receive them need force=true.

allowed_environments and max_environment_role limit the environment roles of managed and dynamic roles. The engine
checks them when a role is written and again when it creates a token.

verification_interval is how often the engine asks whether Modal still accepts each current token.

paused=true stops all work that the engine does at Modal by itself: rotations on schedule, verifications and
revocations, also of leases.

A write merges: a field that is absent or null keeps its value, and an empty field returns to its default.

Example, for the mount modal/:

  vault write modal/config token_id=ak-… token_secret=- allowed_environments=main,staging
`

func (b *Backend) pathConfigRotate() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "config/rotate$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "rotate", OperationSuffix: "admin-token"},
		Fields: map[string]*framework.FieldSchema{
			request.FieldTokenID:     tokenIDField(),
			request.FieldTokenSecret: tokenSecretField(),
			request.FieldGracePeriod: gracePeriodField("How long the replaced admin token stays valid (default 1h; 0 ends it at once)."),
			fieldForce: {
				Type:         framework.TypeBool,
				Description:  "Accept a token of another workspace than the last admin token's, or a token that cannot manage service users. It accepts no token outside of config's pinned_workspace.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Force"},
			},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: forwarded(parseAdminRotation, b.rotateAdmin, "Replace the admin token.", with(configWrittenFields(), adminRotatedFields())),
		},
		HelpSynopsis:    "Replace the admin token, and change nothing else.",
		HelpDescription: strings.TrimSpace(configRotateHelp),
	}}
}

func parseAdminRotation(in *request.Decoder) model.AdminRotation {
	return model.AdminRotation{
		Supplied: in.Token(request.EmptyToken),
		Grace:    in.GracePeriod(),
		Force:    in.Flag(fieldForce).Apply(false, false),
	}
}

func adminRotatedFields() responses {
	return responses{
		fieldChanged:         required(flag("Whether the admin token is another token than before.")),
		fieldPreviousTokenID: text("ID of the replaced admin token."),
		fieldMethod:          text(`How it ends: "automatic", or "manual" when an operator has to delete it at Modal.`),
		fieldNotBefore:       text("When its grace period ends (RFC 3339)."),
	}
}

func (b *Backend) rotateAdmin(ctx context.Context, _ *logical.Request, ask model.AdminRotation) (*logical.Response, error) {
	done, err := b.engine.Configs.RotateAdmin(ctx, ask)
	if err != nil {
		return nil, err
	}
	data := b.configWrittenView(done.Config)
	data[fieldChanged] = done.Changed
	if done.Previous != nil {
		data[fieldPreviousTokenID] = done.Previous.ID
		data[fieldMethod] = done.Previous.Means()
		data[fieldNextStep] = b.engine.Revoker.NextStep(ctx, done.Previous)
		putTime(data, fieldNotBefore, done.Previous.NotBefore)
	}
	return &logical.Response{Data: data, Warnings: done.Warnings}, nil
}

const configRotateHelp = `
A write takes token_id and token_secret of the next admin token. Modal must accept the token, the token must belong to
the workspace of the last admin token, and its owner must be able to manage service users (force=true accepts another).
The replaced token enters the revocation queue and deletes itself after its grace period. A policy can allow this path
alone, because the path changes nothing else in config. To have the token approved in a browser, write to
config/approval.

Example, for the mount modal/:

  vault write modal/config/rotate token_id=ak-… token_secret=-
`

// adminFields returns the response fields of the admin token.
func adminFields() responses {
	return with(tokenFields(), responses{
		fieldManagesServiceUsers: flag("Whether the admin token can manage service users, as managed and dynamic roles need."),
		fieldLimitation:          text("Why the admin token cannot manage service users."),
		fieldServiceUserPrefix:   required(text("Prefix of the names of this mount's service users at Modal.")),
		fieldPaused:              required(flag("Whether the engine does nothing at Modal by itself.")),
	})
}

func configFields() responses {
	return with(adminFields(), responses{
		fieldState:                required(text(`State of the admin token: "none", "ok", "unverified", "limited" (it cannot manage service users), "expired" or "rejected".`)),
		fieldVerificationInterval: required(number("Seconds between two verifications of a current token; 0: never.")),
		fieldServerURL:            required(text("Modal's control plane.")),
		fieldCACert:               text("PEM certificates that the server's certificate must chain to; absent: the system's roots."),
		fieldRequestTimeout:       required(number("Time limit of one call to Modal, in seconds.")),
		fieldAllowedEnvironments: {
			Type: framework.TypeStringSlice, Description: "Environments that managed and dynamic roles may name; absent: all.",
		},
		fieldMaxEnvironmentRole: text("Highest environment role of managed and dynamic roles; absent: contributor."),
		fieldPinnedWorkspace:    text("Name or ID of the workspace that every supplied or approved token must belong to; absent: any."),
		fieldPinnedWorkspaceID:  text("ID of that workspace (ac-…); absent until a verified token shows which workspace has the name."),
	})
}

// configWrittenFields returns the response fields of a write.
func configWrittenFields() responses {
	return with(adminFields(), responses{fieldNextStep: required(text("The next step."))})
}

// adminView returns the owner of the admin token and its limitation, without the secret.
func (b *Backend) adminView(cfg *model.Config) map[string]any {
	data := map[string]any{fieldServiceUserPrefix: b.engine.Mount.ServiceUserPrefix(), fieldPaused: cfg.Paused}
	putText(data, fieldLimitation, cfg.Limitation)
	if cfg.Admin != nil {
		maps.Copy(data, tokenView(*cfg.Admin))
		data[fieldManagesServiceUsers] = cfg.Admin.Verified() && cfg.Limitation == ""
	}
	return data
}

func (b *Backend) configView(cfg *model.Config) map[string]any {
	data := b.adminView(cfg)
	data[fieldServerURL] = cfg.ServerURL
	data[fieldRequestTimeout] = int64(cfg.RequestTimeout.Seconds())
	data[fieldVerificationInterval] = int64(cfg.VerificationEvery().Seconds())
	data[fieldState] = cfg.State(b.engine.Mount.Now())
	if cfg.CACert != "" {
		data[fieldCACert] = cfg.CACert
	}
	putText(data, fieldMaxEnvironmentRole, string(cfg.MaxEnvironmentRole))
	putText(data, fieldPinnedWorkspace, cfg.PinnedWorkspace)
	if len(cfg.AllowedEnvironments) > 0 {
		data[fieldAllowedEnvironments] = cfg.AllowedEnvironments
	}
	return data
}

func (b *Backend) configWrittenView(cfg *model.Config) map[string]any {
	data := b.adminView(cfg)
	data[fieldNextStep] = b.engine.Configs.NextStep(cfg)
	return data
}
