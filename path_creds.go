// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/engine"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
)

const prefixCreds = "creds/"

func (b *Backend) pathCreds() []*framework.Path {
	return []*framework.Path{
		b.pathCredentials("", "credentials", "Read the role's token.", credsFields(), credsData, credsHelp),
		b.pathCredentials("/env", "credentials-as-environment", "Read the role's token as environment variables.", envFields(), envData, envHelp),
		b.pathCredentials("/dotenv", "credentials-as-dotenv", "Read the role's token as environment variables in one text.", textFields(fieldDotenv, "The environment variables, one per line."), dotenvData, dotenvHelp),
		b.pathCredentials("/toml", "credentials-as-toml", "Read the role's token as a whole .modal.toml.", textFields(fieldTOML, "A whole .modal.toml."), tomlData, tomlHelp),
		b.pathCredentials("/profile", "credentials-as-profile", "Read the role's token as one profile of a .modal.toml.", textFields(fieldTOML, "One profile of a .modal.toml."), profileData, profileHelp),
	}
}

// pathCredentials declares one form of a role's token. Each form is a path, because some consumers can only GET a
// path, and because a policy can then allow one form alone.
func (b *Backend) pathCredentials(form, suffix, summary string, fields responses, data credentialsFormat, help string) *framework.Path {
	return &framework.Path{
		Pattern:      prefixCreds + rolePattern + form + "$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: suffix},
		Fields:       map[string]*framework.FieldSchema{request.FieldRole: roleNameField()},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: mayBeMissing(local(nameOf, b.readCredentials(data), summary, fields), noSuchRole),
		},
		HelpSynopsis:    summary,
		HelpDescription: strings.TrimSpace(help),
	}
}

// HandleRequest serves reads of creds without the framework. The framework asks Vault for its replication state first,
// which is a second call between the processes for each read, and every node may serve creds.
func (b *Backend) HandleRequest(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	b.engine.Mount.SetPath(req.MountPoint)
	if req.Operation != logical.RollbackOperation { // the worker's tick has no request
		ctx = context.WithValue(ctx, operationKey{}, req.Operation)
	}
	rest, ofCreds := strings.CutPrefix(req.Path, prefixCreds)
	path := b.Route(req.Path)
	if !ofCreds || path == nil || req.Operation != logical.ReadOperation {
		if req.Operation == logical.HelpOperation && request.HoldsSecret(req.Path) {
			return errorResponse(model.UserErrorf(request.SecretInPath)) // the framework's help repeats the path
		}
		if path != nil {
			ctx, req = request.WithoutBody(ctx, req)
		}
		return b.Backend.HandleRequest(ctx, req)
	}
	name, _, _ := strings.Cut(rest, "/")
	d := &framework.FieldData{Raw: map[string]any{request.FieldRole: name}, Schema: path.Fields}
	return path.Operations[logical.ReadOperation].Handler()(ctx, req, d)
}

// HandleExistenceCheck distinguishes create from update. The framework's own check would write a malformed value into
// Vault's log. It reports no error, because Vault would answer with a bare "internal error": the handler explains the
// error.
func (b *Backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checkFound, exists bool, err error) {
	path := b.Route(req.Path)
	if path == nil || path.ExistenceCheck == nil {
		return false, false, nil
	}
	d := &framework.FieldData{Raw: map[string]any{request.FieldRole: strings.TrimPrefix(req.Path, prefixRoles)}, Schema: path.Fields}
	exists, err = path.ExistenceCheck(ctx, req, d)
	return true, exists || err != nil, nil
}

type credentialsFormat func(h *engine.Credentials, now time.Time) (map[string]any, error)

// readCredentials responds from memory and storage alone, so a read works while Modal is down. A read of a dynamic
// role creates a token.
func (b *Backend) readCredentials(data credentialsFormat) handler[string] {
	return func(ctx context.Context, req *logical.Request, name string) (*logical.Response, error) {
		h, err := b.engine.Rotations.Credentials(ctx, name)
		switch {
		case err != nil:
			return nil, err
		case h == nil:
			return notFound(req, b.engine.Mount.NoSuchRole(ctx, name, ""))
		case h.Cred == nil:
			return b.newLease(ctx, req, name, data)
		}
		now := b.engine.Mount.Now()
		body, err := data(h, now)
		if err != nil {
			return nil, err
		}
		return &logical.Response{Data: body, Warnings: h.Warnings(now)}, nil
	}
}

func credsFields() responses {
	return with(metadataFields(), responses{
		request.FieldTokenID:     required(text("ID of the Modal token (ak-…).")),
		request.FieldTokenSecret: required(secret("Secret of the Modal token (as-…).")),
		fieldWorkspace:           text("The token's Modal workspace; absent for an unverified token."),
		fieldProfile:             required(text("Name of the profile in .modal.toml.")),
		fieldVersion:             required(number("Counter of the role's tokens, from 1.")),
		fieldEnvironment:         text("Modal environment of the role; absent if the role has none."),
		fieldExpiresAt:           text("When the token expires at Modal (RFC 3339); absent when it does not."),
		fieldServerURL:           text("Modal's control plane; absent for Modal's own server."),
	})
}

// metadataFields returns the fields of the rotation metadata that Vault Agent and the Kubernetes operators parse. An
// operator that finds only some of them never reads again.
func metadataFields() responses {
	return responses{
		fieldTTL:               number("Seconds until a consumer should read again; a hint, not the token's life. A dynamic role has no rotation metadata."),
		fieldRotationPeriod:    number("Seconds between rotations."),
		fieldLastVaultRotation: text("When this token became current (RFC 3339)."),
	}
}

func credsData(h *engine.Credentials, now time.Time) (map[string]any, error) {
	data := rotationMetadata(h, now)
	data[request.FieldTokenID] = h.Cred.ID
	data[request.FieldTokenSecret] = h.Cred.Secret
	data[fieldProfile] = h.Role.ProfileOr(h.Name)
	data[fieldVersion] = int64(h.Cred.Version)
	putText(data, fieldWorkspace, h.Cred.Workspace)
	putText(data, fieldEnvironment, h.Role.EffectiveEnvironment())
	putTime(data, fieldExpiresAt, h.Cred.ExpiresAt)
	putText(data, fieldServerURL, h.ServerURL)
	return data, nil
}

func rotationMetadata(h *engine.Credentials, now time.Time) map[string]any {
	data := map[string]any{
		fieldTTL:            int64(h.Cred.TTL(h.Role, now).Seconds()),
		fieldRotationPeriod: int64(h.Role.Period(h.Cred.LastRotation).Seconds()),
	}
	putTime(data, fieldLastVaultRotation, h.Cred.LastRotation)
	return data
}

func envFields() responses {
	return responses{
		"MODAL_TOKEN_ID":     required(text("ID of the Modal token (ak-…).")),
		"MODAL_TOKEN_SECRET": required(secret("Secret of the Modal token (as-…).")),
		"MODAL_ENVIRONMENT":  text("Modal environment of the role; absent if the role has none."),
		"MODAL_SERVER_URL":   text("Modal's control plane; absent for Modal's own server."),
	}
}

func envData(h *engine.Credentials, _ time.Time) (map[string]any, error) {
	data := map[string]any{}
	for _, v := range variables(h) {
		data[v.name] = v.value
	}
	return data, nil
}

// textFields returns the fields of a form that is one text. The token's ID is there for the audit log, and the
// rotation metadata shows rotations to consumers.
func textFields(key, description string) responses {
	return with(metadataFields(), responses{
		key:                  required(secret(description)),
		request.FieldTokenID: required(text("ID of the Modal token (ak-…).")),
	})
}

func textData(h *engine.Credentials, now time.Time, key, text string) map[string]any {
	data := rotationMetadata(h, now)
	data[key], data[request.FieldTokenID] = text, h.Cred.ID
	return data
}

func dotenvData(h *engine.Credentials, now time.Time) (map[string]any, error) {
	return textData(h, now, fieldDotenv, dotenv(h)), nil
}

func tomlData(h *engine.Credentials, now time.Time) (map[string]any, error) {
	text, err := tomlText(h, true)
	return textData(h, now, fieldTOML, text), err
}

func profileData(h *engine.Credentials, now time.Time) (map[string]any, error) {
	text, err := tomlText(h, false)
	return textData(h, now, fieldTOML, text), err
}

const credsHelp = `
A read returns the token's ID and secret, its workspace, and rotation metadata for Vault Agent and the Kubernetes
operators: ttl, rotation_period and last_vault_rotation. ttl says when to read again. It is short, so that consumers
notice an unplanned rotation too. Vault answers alone and does not ask Modal, and the read has no lease.

A read of a dynamic role is different: in each form, Modal creates a token for this read alone, with a lease that
the reader renews and revokes. The lease takes the place of the rotation metadata.

creds/<role>/env, /dotenv, /toml and /profile return the token in the forms that Modal's clients read. A policy on
creds/<role> covers none of these paths.

Example, for the mount modal/:

  vault read modal/creds/ci
`

const metadataHelp = `token_id tells an audit log which token was read. ttl, rotation_period and last_vault_rotation show
rotations to Vault Agent and the Kubernetes operators.

For a dynamic role each read creates a token of its own, with a lease, and has no rotation metadata.
`

const envHelp = `
A read returns exactly MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, and if set MODAL_ENVIRONMENT and MODAL_SERVER_URL, for
tools that export every key that they find. Between two rotations the answer stays the same.

For a dynamic role each read creates a token of its own, with a lease.

Example, for the mount modal/:

  vault read -format=json modal/creds/ci/env
`

const dotenvHelp = `
The key dotenv has the variables of creds/<role>/env as one text, one NAME=value a line, for sh, docker --env-file
and systemd's EnvironmentFile=. No value needs quotes.

Example, for the mount modal/:

  vault read -field=dotenv modal/creds/ci/dotenv
` + metadataHelp

const tomlHelp = `
The key toml has a complete .modal.toml with one active profile, as Modal's own command line writes it. Write it to
a file with mode 0600 and point MODAL_CONFIG_PATH at that file.

Example, for the mount modal/:

  vault read -field=toml modal/creds/ci/toml
` + metadataHelp

const profileHelp = `
The key toml has one profile without "active". Append the profiles of several roles to one creds/<role>/toml, whose
profile is the active one, to combine several accounts in one file.

Example, for the mount modal/:

  vault read -field=toml modal/creds/gpu/profile
` + metadataHelp
