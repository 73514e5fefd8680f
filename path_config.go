// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
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
				Description:  "Environments that managed roles may name (default: all).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Allowed environments"},
			},
			fieldMaxEnvironmentRole: {
				Type: framework.TypeString, AllowedValues: []any{"viewer", "contributor"},
				Description:  "Most that managed roles may be in an environment (default contributor).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Most powerful environment role"},
			},
			fieldTokenID:     tokenIDField(),
			fieldTokenSecret: tokenSecretField(),
			fieldVerify:      verifyField(),
			fieldRemoveAdmin: {
				Type:         framework.TypeBool,
				Description:  "Remove the admin token; it stays valid at Modal.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Remove admin token"},
			},
		},
		ExistenceCheck: func(ctx context.Context, req *logical.Request, _ *framework.FieldData) (bool, error) {
			cfg, err := b.config.Get(ctx, "")
			return cfg != nil, err
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation:   local(nothing, b.readConfig, "Read how Modal is reached and as whom.", configFields()),
			logical.CreateOperation: forwarded(parseConfig, b.writeConfig, "Configure how Modal is reached and as whom.", nil),
			logical.UpdateOperation: forwarded(parseConfig, b.writeConfig, "Configure how Modal is reached and as whom.", nil),
			logical.DeleteOperation: forwarded(nothing, b.deleteConfig, "Return to the defaults, without an admin token.", nil),
		},
		HelpSynopsis:    "Configure how the engine reaches Modal, and as whom.",
		HelpDescription: strings.TrimSpace(configHelp),
	}}
}

// configWrite is what a write to config asks for.
type configWrite struct {
	supplied

	removeAdmin         bool
	serverURL, caCert   Change[string]
	requestTimeout      Change[time.Duration]
	allowedEnvironments Change[[]string]
	maxEnvironmentRole  Change[modalapi.EnvironmentRole]
}

func parseConfig(in *door) configWrite {
	ask := configWrite{
		supplied:            in.supplied(emptyPair + "; remove_admin_token=true removes the admin token"),
		removeAdmin:         in.flag(fieldRemoveAdmin).Over(false, false),
		serverURL:           checked(in, fieldServerURL, maxServerURL, parseServerURL),
		caCert:              checked(in, fieldCACert, maxCACert, parseCACert),
		requestTimeout:      in.duration(fieldRequestTimeout, minRequestTimeout, maxRequestTimeout),
		allowedEnvironments: take(in, fieldAllowedEnvironments, parseEnvironments),
		maxEnvironmentRole:  checked(in, fieldMaxEnvironmentRole, maxToldName, parseEnvironmentRole),
	}
	if ask.removeAdmin && ask.pair != nil {
		in.refuse(fieldRemoveAdmin, "a new token_id and token_secret replace the admin token: write one or the other")
	}
	return ask
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

func configFields() responses {
	return with(tokenFields(), responses{
		fieldServerURL:      required(text("Modal's control plane.")),
		fieldCACert:         text("PEM certificates that the server must chain to; absent: the system's roots."),
		fieldRequestTimeout: required(number("Bound of one call to Modal, in seconds.")),
		fieldAllowedEnvironments: {
			Type: framework.TypeStringSlice, Description: "Environments that managed roles may name; absent: all.",
		},
		fieldMaxEnvironmentRole:  text("Most that managed roles may be in an environment; absent: contributor."),
		fieldManagesServiceUsers: flag("Whether the admin token can manage service users, as managed roles need."),
		fieldLimitation:          text("Why it cannot."),
	})
}

func (b *backend) readConfig(ctx context.Context, req *logical.Request, _ struct{}) (*logical.Response, error) {
	cfg, err := b.config.Get(ctx, "")
	if err != nil || cfg == nil {
		return nil, err
	}
	data := map[string]any{
		fieldServerURL:      cfg.ServerURL,
		fieldRequestTimeout: int64(cfg.RequestTimeout.Seconds()),
	}
	if cfg.CACert != "" {
		data[fieldCACert] = cfg.CACert
	}
	putText(data, fieldMaxEnvironmentRole, string(cfg.MaxEnvironmentRole))
	putText(data, fieldLimitation, cfg.Limitation)
	if len(cfg.AllowedEnvironments) > 0 {
		data[fieldAllowedEnvironments] = cfg.AllowedEnvironments
	}
	if cfg.Admin != nil {
		maps.Copy(data, cfg.Admin.describe())
		data[fieldManagesServiceUsers] = cfg.Admin.verified() && cfg.Limitation == ""
	}
	resp := &logical.Response{Data: data}
	if warning := cfg.expiryWarning(b.now()); warning != "" {
		resp.AddWarning(warning)
	}
	return resp, nil
}

func (b *backend) writeConfig(ctx context.Context, req *logical.Request, ask configWrite) (*logical.Response, error) {
	unlock, err := b.lockConfig(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	stored, err := b.config.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	if err = refuseOvertaken(req, "config", stored != nil); err != nil {
		return nil, err
	}
	before := cmp.Or(stored, defaults)
	after := before.merge(ask)
	resp := &logical.Response{}
	if err := b.settleAdmin(ctx, before, after, ask, resp); err != nil {
		return nil, err
	}
	if stored != nil && reflect.DeepEqual(before, after) {
		return orNothing(resp), nil
	}
	if err := b.storeConfig(ctx, before, after); err != nil {
		return nil, err
	}
	b.log().Info("config written", after.privileges(before)...)
	b.event(ctx, eventConfigWrite, change{path: keyConfig, operation: req.Operation, modified: true, tokenID: after.adminID()})
	return orNothing(resp), nil
}

// settleAdmin decides which admin token the new config has, and asks Modal when that one is new.
func (b *backend) settleAdmin(ctx context.Context, before, after *config, ask configWrite, resp *logical.Response) error {
	if ask.removeAdmin {
		after.Admin, after.Limitation = nil, ""
		b.warnOldAdmin(before, after, resp)
		return nil
	}
	if ask.pair == nil {
		return before.keepsAdmin(after)
	}
	pair := *ask.pair
	resp.Warnings = append(resp.Warnings, ask.warnings...)
	if before.Admin != nil && before.Admin.pair() == pair && after.like(before) && before.Admin.verified() && before.Limitation == "" {
		return nil
	}
	var err error
	proven, limitation := unproven(pair, after.ServerURL), ""
	if ask.verify {
		if proven, limitation, err = b.proveAdmin(ctx, after, pair); err != nil {
			return unchanged(unproven(pair, after.ServerURL), err)
		}
	}
	resp.Warnings = append(resp.Warnings, proven.warnings()...)
	if limitation != "" {
		resp.AddWarning(fmt.Sprintf("admin token %s of %s cannot manage service users, so managed roles will not work, and static ones will: %s",
			proven.ID, proven.owner(), limitation))
	}
	after.Admin, after.Limitation = &proven, limitation
	b.warnOldAdmin(before, after, resp)
	return nil
}

// keepsAdmin refuses to send a stored admin token where Modal has not accepted it.
func (c *config) keepsAdmin(after *config) error {
	if c.Admin == nil || c.like(after) {
		return nil
	}
	field := fieldServerURL
	if sameServer(c.ServerURL, after.ServerURL) {
		field = fieldCACert
	}
	return refusef("%s: the stored admin token %s is sent to no server that has not accepted it: write token_id and token_secret "+
		"of an admin token of the new server with it, or remove_admin_token=true; nothing was changed", field, c.Admin.ID)
}

func (b *backend) proveAdmin(ctx context.Context, cfg *config, pair modalapi.Token) (proven Token, limitation string, err error) {
	if proven, err = b.prove(ctx, cfg, unproven(pair, cfg.ServerURL)); err != nil {
		return Token{}, "", err
	}
	limitation, err = b.limitation(ctx, cfg, proven)
	return proven, limitation, err
}

func (b *backend) warnOldAdmin(before, after *config, resp *logical.Response) {
	if before.Admin == nil || after.adminID() == before.Admin.ID {
		return
	}
	resp.AddWarning(fmt.Sprintf("the engine no longer uses admin token %s of %s, and it stays valid at Modal: %s",
		before.Admin.ID, before.Admin.owner(), before.Admin.howToDelete()))
}

// storeConfig writes what changed, unless a role or the ledger has the admin token.
func (b *backend) storeConfig(ctx context.Context, before, after *config) error {
	b.handover.Lock()
	defer b.handover.Unlock()
	if after.Admin != nil && after.adminID() != before.adminID() {
		if err := b.refuseHeld(ctx, after.Admin.ID, ""); err != nil {
			return err
		}
	}
	return b.config.Put(ctx, "", after)
}

func (b *backend) deleteConfig(ctx context.Context, req *logical.Request, _ struct{}) (*logical.Response, error) {
	unlock, err := b.lockConfig(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.config.Delete(ctx, ""); err != nil {
		return nil, err
	}
	resp := &logical.Response{}
	b.warnOldAdmin(cfg, defaults, resp)
	b.log().Info("config deleted", defaults.privileges(cfg)...)
	b.event(ctx, eventConfigWrite, change{path: keyConfig, operation: req.Operation, modified: true})
	return orNothing(resp), nil
}

func (c *config) adminID() string {
	if c.Admin == nil {
		return ""
	}
	return c.Admin.ID
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
the workspace. Modal is asked before it is stored (verify=false stores it unproven);
remove_admin_token=true removes it. Another server_url or ca_cert takes the pair in the same write, as a
stored secret goes to no server that has not accepted it. A read shows whose it is and whether it can manage service users, never its secret.

allowed_environments and max_environment_role are ceilings for what managed roles may ask of a service
user. They hold when a role is written and again when a token is minted.

A write merges: a field that is absent or null keeps its value, an empty one returns to its default.
`
