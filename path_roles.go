// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
	"vault-plugin-secrets-modal/internal/suggest"
)

const prefixRoles = "roles/"

func (b *Backend) pathRoles() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      prefixRoles + "?$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "roles"},
			Fields:       pageFields(),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: local(parsePage, paged(b.listRoles), "List the roles.", listFields("Names of the roles.")),
			},
			HelpSynopsis:    "List the roles.",
			HelpDescription: "Names of the roles. key_info has the type, version, state, next rotation and description of each role.\n\nExample, for the mount modal/:\n\n  vault list -detailed modal/roles",
		},
		{
			Pattern:      prefixRoles + rolePattern + "$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "role"},
			Fields: with(map[string]*framework.FieldSchema{request.FieldRole: roleNameField(), fieldForce: {
				Type: framework.TypeBool, Query: true,
				Description: "On write, static roles: accept the token of a service user that a mount of this engine created and will delete. " +
					"On delete: revoke at once all tokens of the role that the engine can revoke, also earlier versions; also delete a role whose stored data cannot be read.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Force"},
			}}, policyFields(), tokenRequestFields()),
			ExistenceCheck: b.roleExists,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   mayBeMissing(local(nameOf, b.readRole, "Read a role's policy.", policyFields()), noSuchRole),
				logical.CreateOperation: forwarded(parseRole, b.writeRole, "Create a role with its first token, or change its policy.", writtenFields()),
				logical.UpdateOperation: forwarded(parseRole, b.writeRole, "Create a role with its first token, or change its policy.", writtenFields()),
				logical.DeleteOperation: noContent(forwarded(parseDelete, b.deleteRole, "Delete a role; its token stays valid for the grace period unless forced.", deletedFields()),
					"The role did not exist."),
			},
			HelpSynopsis:    "Manage a role: which Modal token it returns, and how.",
			HelpDescription: strings.TrimSpace(roleHelp),
		},
	}
}

func tokenRequestFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		request.FieldTokenID: tokenIDField(), request.FieldTokenSecret: tokenSecretField(), request.FieldVerify: verifyField(),
	}
}

// writtenFields returns the response fields of a write.
func writtenFields() responses {
	return with(tokenFields(), responses{
		fieldType:         required(text("Type of the role.")),
		fieldVersion:      number("Counter of the role's tokens, from 1; absent for a role without a token of its own."),
		fieldNextRotation: text("When the engine rotates the token, or by when an operator should (RFC 3339); absent for a role without a token."),
		fieldNextStep:     required(text("The next step.")),
		fieldNextFirings: {
			Type: framework.TypeStringSlice, Description: "The next three times that rotation_schedule fires (RFC 3339); absent without a schedule.",
		},
	})
}

func (b *Backend) roleExists(ctx context.Context, _ *logical.Request, d *framework.FieldData) (bool, error) {
	r, err := b.engine.Roles.Read(ctx, request.TextOf(d, request.FieldRole))
	return r != nil, err
}

// listRoles reads only the roles of the page.
func (b *Backend) listRoles(ctx context.Context, ask page) (*logical.Response, error) {
	names, err := b.engine.Mount.Roles.List(ctx)
	if err != nil {
		return nil, err
	}
	rotations, unreadable := b.engine.Mount.RotationsNamed(ctx, ask.choose(names))
	return addUnreadable(rotationList(rotations, false), "roles", unreadable), nil
}

func (b *Backend) readRole(ctx context.Context, _ *logical.Request, name string) (*logical.Response, error) {
	r, err := b.engine.Roles.Read(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, notFoundError(b.engine.Mount.NoSuchRole(ctx, name, ""))
	}
	return &logical.Response{Data: roleView(r, name)}, nil
}

func (b *Backend) writeRole(ctx context.Context, req *logical.Request, ask model.RoleWrite) (*logical.Response, error) {
	ask.Expect = expectationOf(req)
	done, err := b.engine.Roles.Write(ctx, ask)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: b.writtenView(ctx, done.Rotation), Warnings: done.Warnings}, nil
}

// deleteRequest is a delete of roles/<role>.
type deleteRequest struct {
	name  string
	force bool
}

func parseDelete(in *request.Decoder) deleteRequest {
	return deleteRequest{name: in.Name, force: in.Flag(fieldForce).Apply(false, false)}
}

func (b *Backend) deleteRole(ctx context.Context, _ *logical.Request, ask deleteRequest) (*logical.Response, error) {
	done, err := b.engine.Roles.Delete(ctx, ask.name, ask.force)
	if err != nil || done == nil {
		return nil, err
	}
	data := map[string]any{fieldRevoked: int64(done.Revoked), fieldLeft: int64(done.Left), fieldNextStep: done.NextStep}
	if done.Tokens != nil {
		data[fieldTokens] = done.Tokens
	}
	return &logical.Response{Data: data}, nil
}

func deletedFields() responses {
	return responses{
		fieldTokens: {
			Type: framework.TypeStringSlice, Description: "A line for each token of the role: what happens to the token, and when. Absent if the role had none.",
		},
		fieldRevoked:  required(number("How many tokens Modal rejects already.")),
		fieldLeft:     required(number("How many tokens are in the revocation queue.")),
		fieldNextStep: required(text("The next step.")),
	}
}

const roleHelp = `
A static role holds a Modal account token that an operator brings. Create it with type=static, token_id and
token_secret. The engine asks Modal who owns the token before it stores the token (verify=false stores it unverified).
Without token_id and token_secret the role waits for its first token, which a person approves through
rotate/<role>/approval. A token belongs to one role only. After a rotation the replaced member token deletes itself
when its grace period ends. With revoke_previous=false, people delete it at Modal.

A managed role holds the token of a Modal service user. The engine creates the service user with the role's
environment_roles and replaces it on schedule. Create it with type=managed and environment_roles=main=contributor, for
example. config needs an admin token.

A dynamic role holds no token. At each read of creds/<role> the engine creates a service user, and its token ends with
the lease of that read. Create it with type=dynamic and environment_roles. ttl and max_ttl limit the lease, and
max_leases limits how many leases there may be at a time. With service_user_name_template={{.DisplayName}} the names
of the service users at Modal tell which reader has which token.

A write merges: a field that is absent or null keeps its value, and an empty field returns to its default. A write
never creates a token. environment_roles change the current service user. scoped and token_ttl take effect at the next
rotation. A write that narrows a dynamic role narrows the tokens of its leases too, and reports how many tokens keep
more. A write cannot change the type or the token: rotate/<role> takes another token.

A delete puts the role's token into the revocation queue ("revocations"), where the token keeps the role's grace
period. force=true revokes at once all tokens of the role that the engine can revoke, also earlier versions. Only
revocations/<id> with force=true revokes the token of a static role. The response has a line for each token.
force=true also deletes a role whose stored data cannot be read.

Example, for the mount modal/:

  vault write modal/roles/ci type=managed environment_roles=main=contributor
`

func policyFields() map[string]*framework.FieldSchema {
	return with(accessFields(), managedFields(), dynamicFields(), map[string]*framework.FieldSchema{
		fieldType: {
			Type: framework.TypeString, AllowedValues: []any{model.TypeStatic, model.TypeManaged, model.TypeDynamic},
			Description:  "Type of the role: static (an operator brings or approves the tokens), managed (the engine creates them) or dynamic (it creates one for each lease). Cannot change.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Type"},
		},
		fieldDescription: {
			Type:         framework.TypeString,
			Description:  "Text about the role, for example its owner, a ticket or a repository (up to 256 bytes). Lists and lookups show it.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Description"},
		},
		fieldProfile: {
			Type:         framework.TypeString,
			Description:  "Name of the profile in .modal.toml (default: the role's name).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Profile"},
		},
		fieldEnvironment: {
			Type:         framework.TypeString,
			Description:  "Modal environment that creds returns with the token, as MODAL_ENVIRONMENT.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Environment"},
		},
		fieldRefreshInterval: {
			Type:         framework.TypeDurationSecond,
			Description:  "How often a consumer should read again (default 5m, 5s to 24h).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Refresh interval", Value: "5m"},
		},
		request.FieldGracePeriod: gracePeriodField("How long the previous token stays valid after a rotation (default 24h, up to a year)."),
		fieldRotationPeriod: {
			Type: framework.TypeDurationSecond,
			Description: "Age at which a token is replaced (default 90d). The engine replaces the token of a managed role. An operator " +
				"replaces the token of a static role, and reads warn when it is late.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Rotation period", Value: "90d"},
		},
		fieldRevokePrevious: {
			Type: framework.TypeBool, Default: true,
			Description:  "Static roles: revoke the member token that a rotation replaces (default true).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Revoke previous", Value: true},
		},
	})
}

// accessFields returns the fields of managed and dynamic roles about access at Modal.
func accessFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldEnvironmentRoles: {
			Type:         framework.TypeKVPairs,
			Description:  "Managed and dynamic roles: rights of the token, as environment=viewer or environment=contributor.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Environment roles"},
		},
		fieldScoped: {
			Type: framework.TypeBool, Default: true,
			Description:  "Managed and dynamic roles: limit the token to environment_roles (default true).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Scoped", Value: true},
		},
	}
}

func managedFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldTokenTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Managed roles: life of a token at Modal, from 10m (default: it does not expire).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Token TTL"},
		},
		fieldRotationSchedule: {
			Type:         framework.TypeString,
			Description:  "Managed roles: when to rotate, as five-field cron in UTC, instead of rotation_period.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Rotation schedule"},
		},
		fieldRotationWindow: {
			Type:         framework.TypeDurationSecond,
			Description:  "Managed roles: how long after a firing of rotation_schedule the rotation may begin (1h to 24h; default: any time).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Rotation window"},
		},
		fieldDisableRotation: {
			Type:         framework.TypeBool,
			Description:  "Managed roles: rotate only on request.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Disable automated rotation"},
		},
		fieldHold: {
			Type:         framework.TypeDurationSecond,
			Description:  "Managed roles: how long the engine delays the revocation of a previous token that Modal reports as still used (default 0).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Hold while used"},
		},
	}
}

func dynamicFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Dynamic roles: how long a lease runs without a renewal (default 1h, from 1m).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "TTL", Value: "1h"},
		},
		fieldMaxTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Dynamic roles: how long a lease can run with renewals (default 24h).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Max TTL", Value: "24h"},
		},
		fieldMaxLeases: {
			Type:         framework.TypeInt,
			Description:  "Dynamic roles: how many leases there may be at a time (default 0: any number).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Max leases"},
		},
		fieldNameTemplate: {
			Type: framework.TypeString,
			Description: "Dynamic roles: template of the middle part of the service users' names at Modal, with .RoleName and the .DisplayName " +
				"of the reader's Vault token, up to 256 bytes (default: {{.RoleName}}).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Service user name template", Value: model.DefaultNameTemplate},
		},
	}
}

func parseRole(in *request.Decoder) model.RoleWrite {
	ask := model.RoleWrite{
		Supplied:        in.Token(request.EmptyToken),
		Name:            in.Name,
		Type:            request.CheckedText(in, fieldType, request.MaxNameLength, parseType),
		Description:     request.CheckedText(in, fieldDescription, model.MaxDescription, parseDescription),
		Profile:         request.CheckedText(in, fieldProfile, model.MaxProfile, parseProfile),
		Environment:     request.CheckedText(in, fieldEnvironment, request.MaxNameLength, request.ParseEnvironment),
		RefreshInterval: in.Duration(fieldRefreshInterval, model.MinTTL, model.MaxRefreshInterval),
		GracePeriod:     in.Duration(request.FieldGracePeriod, 0, model.MaxGracePeriod),
		RotationPeriod:  request.Field(in, fieldRotationPeriod, parsePeriod),
		RevokePrevious:  in.Flag(fieldRevokePrevious),
		Access:          parseAccess(in),
		Managed:         parseManaged(in),
		Dynamic:         parseDynamic(in),
		Force:           in.Flag(fieldForce).Apply(false, false),
	}
	if ask.Force {
		ask.Given = append(ask.Given, fieldForce)
	}
	return ask
}

func parseType(text string) (kind, mistake string) {
	kinds := []string{model.TypeStatic, model.TypeManaged, model.TypeDynamic}
	if slices.Contains(kinds, text) {
		return text, ""
	}
	if question := suggest.DidYouMean(text, kinds, suggest.SpellingOrPart); question != "" {
		return "", question + " The types are " + strings.Join(kinds, ", ")
	}
	return "", "write " + strings.Join(kinds, ", ")
}

// parseDescription refuses what would break or disguise a line of a list or of the log.
func parseDescription(text string) (description, mistake string) {
	if strings.ContainsFunc(text, func(c rune) bool {
		return unicode.IsControl(c) || unicode.In(c, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
	}) {
		return "", "write one line, without control characters"
	}
	return strings.TrimSpace(text), ""
}

// asWritten takes a text that the engine checks.
func asWritten(text string) (value, mistake string) { return text, "" }

func parsePeriod(raw any) (period time.Duration, mistake string) {
	if period, mistake = request.ParseDuration(raw); mistake == "" && period == 0 {
		return 0, "a period of 0 is not possible: write disable_automated_rotation=true to rotate a managed role only on request"
	}
	return request.ParseDurationBetween(raw, model.MinTTL, model.MaxRotationPeriod)
}

func parseProfile(text string) (profile, mistake string) {
	if !model.ProfileName.MatchString(text) {
		return "", `use letters, digits, "_", "." and "-", which all Modal clients read`
	}
	return text, ""
}

func parseAccess(in *request.Decoder) model.AccessWrite {
	return model.AccessWrite{
		EnvironmentRoles: request.Field(in, fieldEnvironmentRoles, request.ParseEnvironmentRoles),
		Scoped:           in.Flag(fieldScoped),
		Given:            in.Given(namesOf(accessFields())...),
	}
}

func parseDynamic(in *request.Decoder) model.DynamicWrite {
	return model.DynamicWrite{
		TTL:          in.Duration(fieldTTL, model.MinLeaseTTL, model.MaxLeaseTTL),
		MaxTTL:       in.Duration(fieldMaxTTL, model.MinLeaseTTL, model.MaxLeaseTTL),
		MaxLeases:    in.Count(fieldMaxLeases, model.MaxLeases),
		NameTemplate: request.CheckedText(in, fieldNameTemplate, model.MaxNameTemplate, asWritten),
		Given:        in.Given(namesOf(dynamicFields())...),
	}
}

func parseManaged(in *request.Decoder) model.ManagedWrite {
	ask := model.ManagedWrite{
		Disabled: in.Flag(fieldDisableRotation),
		TokenTTL: in.OptionalDuration(fieldTokenTTL, model.MinTokenTTL, model.MaxTokenTTL),
		Window:   in.OptionalDuration(fieldRotationWindow, model.MinRotationWindow, model.MaxRotationWindow),
		Hold:     in.OptionalDuration(fieldHold, model.MinHold, model.MaxHold),
		Schedule: request.CheckedText(in, fieldRotationSchedule, model.MaxSchedule, parseCron),
		Given:    in.Given(namesOf(managedFields())...),
	}
	if period := in.Body[fieldRotationPeriod]; ask.Schedule.Value != "" && period != nil && period != "" {
		in.RefuseRequest("rotation_schedule and rotation_period exclude each other: write one of them")
	}
	return ask
}

// parseCron reads a schedule and returns it in its shortest spelling.
func parseCron(text string) (schedule, mistake string) {
	schedule = strings.Join(strings.Fields(text), " ")
	_, mistake = model.ParseSchedule(schedule)
	return schedule, mistake
}

// roleView returns the policy of a role.
func roleView(r *model.Role, name string) map[string]any {
	data := map[string]any{fieldType: r.Type, fieldProfile: r.ProfileOr(name)}
	putText(data, fieldDescription, r.Description)
	putText(data, fieldEnvironment, r.EffectiveEnvironment())
	switch {
	case r.Dynamic != nil:
		dynamicView(r.Dynamic, data)
		return data
	case r.Managed != nil:
		managedView(r.Managed, data)
	default:
		data[fieldRevokePrevious] = !r.KeepPrevious
	}
	data[fieldRefreshInterval] = int64(r.RefreshInterval.Seconds())
	data[request.FieldGracePeriod] = int64(r.GracePeriod.Seconds())
	if r.Managed == nil || r.Managed.Schedule == "" {
		data[fieldRotationPeriod] = int64(r.RotationPeriod.Seconds())
	}
	return data
}

func accessView(a model.Access, data map[string]any) {
	data[fieldScoped] = a.Scoped
	if len(a.EnvironmentRoles) > 0 {
		data[fieldEnvironmentRoles] = a.EnvironmentRoles
	}
}

func managedView(p *model.ManagedPolicy, data map[string]any) {
	accessView(p.Access, data)
	data[fieldDisableRotation] = p.Disabled
	if p.TokenTTL != 0 {
		data[fieldTokenTTL] = int64(p.TokenTTL.Seconds())
	}
	if p.Window != 0 {
		data[fieldRotationWindow] = int64(p.Window.Seconds())
	}
	if p.Hold != 0 {
		data[fieldHold] = int64(p.Hold.Seconds())
	}
	putText(data, fieldRotationSchedule, p.Schedule)
}

func dynamicView(p *model.DynamicPolicy, data map[string]any) {
	accessView(p.Access, data)
	data[fieldTTL] = int64(p.TTL.Seconds())
	data[fieldMaxTTL] = int64(p.MaxTTL.Seconds())
	data[fieldMaxLeases] = int64(p.MaxLeases)
	data[fieldNameTemplate] = cmp.Or(p.NameTemplate, model.DefaultNameTemplate)
}
