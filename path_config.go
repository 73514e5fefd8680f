// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

func (b *backend) pathConfig() []*framework.Path {
	return []*framework.Path{{
		Pattern: "config/?$",
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix, OperationSuffix: "configuration",
		},
		Fields: map[string]*framework.FieldSchema{
			fieldServerURL: {
				Type:         framework.TypeString,
				Description:  "Modal's control plane, as https://host:port (default https://api.modal.com:443). Plain http is for loopback alone.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Server URL", Value: "https://api.modal.com:443"},
			},
			fieldCACert: {
				Type:         framework.TypeString,
				Description:  "PEM certificates that the server must chain to, in place of the system's roots.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "CA certificate", EditType: "textarea"},
			},
			fieldRequestTimeout: {
				Type:         framework.TypeDurationSecond,
				Description:  "Bound of one call to Modal, retries included (default 15s, 1s to 2m).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Request timeout", Value: "15s"},
			},
			fieldAllowedEnvironments: {
				Type:         framework.TypeCommaStringSlice,
				Description:  "Environments that managed and dynamic roles may name (default: all).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Allowed environments"},
			},
			fieldMaxEnvironmentRole: {
				Type: framework.TypeString, AllowedValues: []any{"viewer", "contributor"},
				Description:  "Most that managed and dynamic roles may be in an environment (default contributor).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Most powerful environment role"},
			},
			fieldTokenID:     tokenIDField(),
			fieldTokenSecret: tokenSecretField(),
			fieldVerify:      verifyField(),
			fieldGracePeriod: gracePeriodField("How long the admin token that this write replaces stays valid (default 1h)."),
			fieldRemoveAdmin: {
				Type:         framework.TypeBool,
				Description:  "Remove the admin token; it is not ended at Modal.",
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
				Description:  "How often Modal is asked whether it still accepts each current token (default 24h, from 10m; 0: never).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Verification interval", Value: "24h"},
			},
			fieldPaused: {
				Type:         framework.TypeBool,
				Description:  "Stop what the engine does at Modal by itself: no rotation on schedule, no verification, no revocation, that of leases included. Operators still can (default false).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Paused"},
			},
		},
		ExistenceCheck: func(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (bool, error) {
			cfg, err := b.engine.Configs.Read(ctx)
			return cfg != nil, err
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation:   local(nothing, b.readConfig, "Read how Modal is reached and as whom.", configFields()),
			logical.CreateOperation: forwarded(parseConfig, b.writeConfig, "Configure how Modal is reached and as whom.", configWrittenFields()),
			logical.UpdateOperation: forwarded(parseConfig, b.writeConfig, "Configure how Modal is reached and as whom.", configWrittenFields()),
			logical.DeleteOperation: forwarded(parseForce, b.deleteConfig, "Return to the defaults, without an admin token.", nil),
		},
		HelpSynopsis:    "Configure how the engine reaches Modal, and as whom.",
		HelpDescription: strings.TrimSpace(configHelp),
	}}
}

func parseConfig(in *door) model.ConfigWrite {
	ask := model.ConfigWrite{
		Supplied:            in.supplied(emptyPair + "; remove_admin_token=true removes the admin token"),
		RemoveAdmin:         in.flag(fieldRemoveAdmin).Apply(false, false),
		Force:               parseForce(in),
		PinnedWorkspace:     checked(in, fieldPinnedWorkspace, model.MaxWorkspace, parseWorkspace),
		ServerURL:           checked(in, fieldServerURL, model.MaxServerURL, parseServerURL),
		CACert:              checked(in, fieldCACert, model.MaxCACert, parseCACert),
		RequestTimeout:      in.duration(fieldRequestTimeout, model.MinRequestTimeout, model.MaxRequestTimeout),
		AllowedEnvironments: take(in, fieldAllowedEnvironments, parseEnvironments),
		MaxEnvironmentRole:  checked(in, fieldMaxEnvironmentRole, maxToldName, parseEnvironmentRole),
		Paused:              in.flag(fieldPaused),
	}
	ask.Grace = in.grace()
	ask.VerificationInterval = in.optional(fieldVerificationInterval, model.MinVerification, model.MaxVerification)
	if ask.RemoveAdmin && ask.Token != nil {
		in.refuse(fieldRemoveAdmin, "a new token_id and token_secret replace the admin token: write one or the other")
	}
	return ask
}

func parseForce(in *door) bool { return in.flag(fieldForce).Apply(false, false) }

// workspaceName is what Modal may call a workspace, by name or ID.
var workspaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

func parseWorkspace(text string) (workspace, mistake string) {
	text = strings.TrimSpace(text)
	if !workspaceName.MatchString(text) {
		return "", "write the name of a workspace, or its ID (ac-…), as a read of config shows both"
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

func (b *backend) readConfig(ctx context.Context, _ *logical.Request, _ struct{}) (*logical.Response, error) {
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

func (b *backend) writeConfig(ctx context.Context, req *logical.Request, ask model.ConfigWrite) (*logical.Response, error) {
	ask.Expect = expected(req)
	done, err := b.engine.Configs.Write(ctx, ask)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: b.configWrittenView(done.Config), Warnings: done.Warnings}, nil
}

func (b *backend) deleteConfig(ctx context.Context, _ *logical.Request, force bool) (*logical.Response, error) {
	warnings, err := b.engine.Configs.Delete(ctx, force)
	if err != nil {
		return nil, err
	}
	return orNothing(&logical.Response{Warnings: warnings}), nil
}

// orNothing is the answer of a write, which is no content when there is nothing to say.
func orNothing(resp *logical.Response) *logical.Response {
	if len(resp.Warnings) == 0 && len(resp.Data) == 0 {
		return nil
	}
	return resp
}

const configHelp = `
Nothing has to be configured for static roles on Modal itself. server_url, ca_cert and
request_timeout say how Modal is reached; roles cannot change them, so that no role can send a secret
elsewhere.

token_id and token_secret are the optional admin token: an account token of an owner or manager of
the workspace. Modal is asked before it is stored. remove_admin_token=true removes it. A replaced one
enters the revocation queue and deletes itself after grace_period (1h); a removed one is left to you there.
A read shows whose it is, when it was made and when it expires, and whether it can manage service users,
never its secret.

The mount remembers the workspace of its last verified admin token, also after a delete. An admin token of
another workspace takes force=true, and verify=false is refused. pinned_workspace names the workspace that
every supplied or approved token must belong to; force does not override it.

A stored secret goes to no server that has not accepted it. While an admin token is stored, another
server_url or ca_cert takes an admin token in the same write, which the server accepts. While other tokens
are stored, certificates that let another server receive them take force=true.

allowed_environments and max_environment_role are ceilings for what managed and dynamic roles may ask
of a service user. They hold when a role is written and again when a token is minted.

verification_interval is how often the engine asks whether Modal still accepts each current token.

paused=true stops what the engine does at Modal by itself: rotations on schedule, verifications and
revocations, those of leases included.

A write merges: a field that is absent or null keeps its value, an empty one returns to its default.
`
