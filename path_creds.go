// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/engine"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const prefixCreds = "creds/"

func (b *backend) pathCreds() []*framework.Path {
	return []*framework.Path{
		b.pathHandout("", "credentials", "Read the role's token, raw and in every format.", credsFields(), credsData, credsHelp),
		b.pathHandout("/env", "credentials-as-environment", "Read the role's token as environment variables.", envFields(), envData, envHelp),
		b.pathHandout("/toml", "credentials-as-toml", "Read the role's token as a whole .modal.toml.", tomlFields(), tomlData, tomlHelp),
		b.pathHandout("/profile", "credentials-as-profile", "Read the role's token as one profile of a .modal.toml.", tomlFields(), profileData, profileHelp),
	}
}

// pathHandout declares one form of a role's token. The forms are paths, as some consumers can only GET
// a path, and a policy can allow one form alone.
func (b *backend) pathHandout(form, suffix, summary string, fields responses, data handoutData, help string) *framework.Path {
	return &framework.Path{
		Pattern:      prefixCreds + rolePattern + form + "$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: suffix},
		Fields:       map[string]*framework.FieldSchema{fieldRole: roleNameField()},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: local(urlName, b.readHandout(data), summary, fields),
		},
		HelpSynopsis:    summary,
		HelpDescription: strings.TrimSpace(help),
	}
}

// HandleRequest serves reads of creds itself: every node may, and the framework would ask Vault for its
// replication state first, a second call between the processes for each read.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	b.engine.NameMount(req.MountPoint)
	rest, ofCreds := strings.CutPrefix(req.Path, prefixCreds)
	path := b.Route(req.Path)
	if !ofCreds || path == nil || req.Operation != logical.ReadOperation {
		if req.Operation == logical.HelpOperation && holdsSecret(req.Path) {
			return answer(engine.Refusef(secretInPath)) // the framework's help repeats the path
		}
		if path != nil {
			ctx, req = behindTheDoor(ctx, req)
		}
		return b.Backend.HandleRequest(ctx, req)
	}
	name, _, _ := strings.Cut(rest, "/")
	d := &framework.FieldData{Raw: map[string]any{fieldRole: name}, Schema: path.Fields}
	return path.Operations[logical.ReadOperation].Handler()(ctx, req, d)
}

// HandleExistenceCheck tells create from update. The framework's own would put a malformed value into
// Vault's log, and Vault answers an error here with a bare "internal error": what is wrong is for the
// handler to say.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checkFound, exists bool, err error) {
	path := b.Route(req.Path)
	if path == nil || path.ExistenceCheck == nil {
		return false, false, nil
	}
	d := &framework.FieldData{Raw: map[string]any{fieldRole: strings.TrimPrefix(req.Path, prefixRoles)}, Schema: path.Fields}
	exists, err = path.ExistenceCheck(ctx, req, d)
	return true, exists || err != nil, nil
}

type handoutData func(h *engine.Handout, now time.Time) (map[string]any, error)

// readHandout answers from memory and storage alone, so it works while Modal is down.
func (b *backend) readHandout(data handoutData) handler[string] {
	return func(ctx context.Context, _ *logical.Request, name string) (*logical.Response, error) {
		h, err := b.engine.Handout(ctx, name)
		if err != nil || h == nil {
			return nil, err
		}
		now := b.engine.Now()
		body, err := data(h, now)
		if err != nil {
			return nil, err
		}
		return &logical.Response{Data: body, Warnings: h.Warnings(now)}, nil
	}
}

func credsFields() responses {
	return responses{
		fieldTokenID:           required(text("ID of the Modal token (ak-…).")),
		fieldTokenSecret:       required(secret("Secret of the Modal token (as-…).")),
		fieldWorkspace:         text("The token's Modal workspace; absent for a token stored unproven."),
		fieldProfile:           required(text("Name of the profile in toml.")),
		fieldVersion:           required(number("Counter of the role's tokens, from 1.")),
		fieldEnvironment:       text("Modal environment, when the role sets one."),
		fieldExpiresAt:         text("When the token expires at Modal (RFC 3339); absent when it does not."),
		fieldServerURL:         text("Modal's control plane, when it is not Modal's default."),
		fieldEnv:               required(secret("The environment variables as dotenv text.")),
		fieldTOML:              required(secret("A whole .modal.toml.")),
		fieldTTL:               required(number("Seconds until a consumer should read again; a hint, not the token's life.")),
		fieldRotationPeriod:    required(number("Seconds between rotations.")),
		fieldLastVaultRotation: required(text("When this token became current (RFC 3339).")),
	}
}

func credsData(h *engine.Handout, now time.Time) (map[string]any, error) {
	whole, err := tomlText(h, true)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		fieldTokenID:        h.Cred.ID,
		fieldTokenSecret:    h.Cred.Secret,
		fieldProfile:        h.Role.ProfileOr(h.Name),
		fieldVersion:        int64(h.Cred.Version),
		fieldEnv:            dotenv(h),
		fieldTOML:           whole,
		fieldTTL:            int64(h.Cred.TTL(h.Role, now).Seconds()),
		fieldRotationPeriod: int64(h.Role.Period(h.Cred.LastRotation).Seconds()),
	}
	putTime(data, fieldLastVaultRotation, h.Cred.LastRotation)
	putText(data, fieldWorkspace, h.Cred.Workspace)
	putText(data, fieldEnvironment, h.Role.EffectiveEnvironment())
	putTime(data, fieldExpiresAt, h.Cred.ExpiresAt)
	putText(data, fieldServerURL, h.ServerURL)
	return data, nil
}

func envFields() responses {
	return responses{
		"MODAL_TOKEN_ID":     required(text("ID of the Modal token (ak-…).")),
		"MODAL_TOKEN_SECRET": required(secret("Secret of the Modal token (as-…).")),
		"MODAL_ENVIRONMENT":  text("Modal environment, when the role sets one."),
		"MODAL_SERVER_URL":   text("Modal's control plane, when it is not Modal's default."),
	}
}

func envData(h *engine.Handout, _ time.Time) (map[string]any, error) {
	data := map[string]any{}
	for _, v := range variables(h) {
		data[v.name] = v.value
	}
	return data, nil
}

func tomlFields() responses {
	return responses{fieldTOML: required(secret("TOML text."))}
}

func tomlData(h *engine.Handout, _ time.Time) (map[string]any, error) {
	text, err := tomlText(h, true)
	return map[string]any{fieldTOML: text}, err
}

func profileData(h *engine.Handout, _ time.Time) (map[string]any, error) {
	text, err := tomlText(h, false)
	return map[string]any{fieldTOML: text}, err
}

const credsHelp = `
One read gives the pair, the same pair as environment variables (env) and as .modal.toml (toml), and
the trio that Vault Agent and the Kubernetes operators parse: ttl, rotation_period and
last_vault_rotation. There is no lease. ttl says when to read again; it is short so that a rotation
nobody planned is noticed too.

The answer comes from Vault alone: Modal is never asked. A policy on creds/<role> does not cover
creds/<role>/env, /toml and /profile.
`

const envHelp = `
Exactly MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, and when set MODAL_ENVIRONMENT and MODAL_SERVER_URL, for
tools that export every key they find.
`

const tomlHelp = `
The key toml is a whole .modal.toml with one active profile. Write it to a file with mode 0600 and
point MODAL_CONFIG_PATH at it.
`

const profileHelp = `
The key toml is one profile without "active", so that the profiles of several roles join into one
file, with one creds/<role>/toml among them as the active one.
`
