// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"maps"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-modal/internal/request"
)

// Names of request and response fields.
const (
	fieldServerURL      = "server_url"
	fieldCACert         = "ca_cert"
	fieldRequestTimeout = "request_timeout"

	fieldAllowedEnvironments = "allowed_environments"
	fieldMaxEnvironmentRole  = "max_environment_role"
	fieldManagesServiceUsers = "manages_service_users"
	fieldLimitation          = "limitation"

	fieldRemoveAdmin       = "remove_admin_token"
	fieldPinnedWorkspace   = "pinned_workspace"
	fieldPinnedWorkspaceID = "pinned_workspace_id"
	fieldPaused            = "paused"
	fieldServiceUserPrefix = "service_user_prefix"

	fieldVerified     = "verified"
	fieldWorkspace    = "workspace"
	fieldWorkspaceID  = "workspace_id"
	fieldIdentityType = "identity_type"
	fieldIdentity     = "identity"
	fieldIdentityID   = "identity_id"
	fieldCreatedAt    = "created_at"
	fieldExpiresAt    = "expires_at"

	fieldType            = "type"
	fieldDescription     = "description"
	fieldProfile         = "profile"
	fieldEnvironment     = "environment"
	fieldRefreshInterval = "refresh_interval"

	fieldRotationPeriod = "rotation_period"
	fieldRevokePrevious = "revoke_previous"

	fieldEnvironmentRoles = "environment_roles"
	fieldScoped           = "scoped"
	fieldTokenTTL         = "token_ttl"
	fieldRotationSchedule = "rotation_schedule"
	fieldRotationWindow   = "rotation_window"
	fieldDisableRotation  = "disable_automated_rotation"
	fieldNextFirings      = "next_firings"

	fieldVersion           = "version"
	fieldDotenv            = "dotenv"
	fieldTOML              = "toml"
	fieldTTL               = "ttl"
	fieldLastVaultRotation = "last_vault_rotation"

	fieldForce           = "force"
	fieldToPrevious      = "to_previous"
	fieldDryRun          = "dry_run"
	fieldPlan            = "plan"
	fieldChanged         = "changed"
	fieldProblems        = "problems"
	fieldState           = "state"
	fieldNextRotation    = "next_rotation"
	fieldLate            = "late"
	fieldUrgency         = "urgency"
	fieldPreviousTokenID = "previous_token_id"
	fieldPreviousTokens  = "previous_tokens"

	fieldReason      = "reason"
	fieldMethod      = "method"
	fieldSince       = "since"
	fieldNotBefore   = "not_before"
	fieldAttempts    = "attempts"
	fieldLastAttempt = "last_attempt"
	fieldNextAttempt = "next_attempt"
	fieldLastError   = "last_error"
	fieldNextStep    = "next_step"
	fieldRevoked     = "revoked"
	fieldProof       = "proof"

	fieldAccepted     = "accepted"
	fieldRolesDiffer  = "roles_differ"
	fieldNames        = "names"
	fieldAccept       = "accept"
	fieldEnded        = "ended"
	fieldLeft         = "left"
	fieldTokens       = "tokens"
	fieldOutOfSync    = "out_of_sync"
	fieldMaxTTL       = "max_ttl"
	fieldMaxLeases    = "max_leases"
	fieldNameTemplate = "service_user_name_template"
	fieldHold         = "hold_while_used"

	fieldLastUsedAt           = "last_used_at"
	fieldVerificationInterval = "verification_interval"

	fieldAfter = "after"
	fieldAge   = "age"

	fieldKind        = "kind"
	fieldServiceUser = "service_user"
	fieldRevocation  = "revocation"
	fieldDisabled    = "disabled"
	fieldLimit       = "limit"

	fieldLapseAfter = "lapse_after"
	fieldLapsesAt   = "lapses_at"
	fieldWait       = "wait"
	fieldURL        = "url"
	fieldCode       = "code"
	fieldBegan      = "began"
)

func roleNameField() *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeString,
		Required:     true,
		Description:  `Name of the role: lower-case letters, digits, "-", "_" and ".".`,
		DisplayAttrs: &framework.DisplayAttributes{Name: "Role"},
	}
}

func tokenIDField() *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeString,
		Description:  "ID of a Modal account token (ak-…). Given together with token_secret; surrounding white space is trimmed.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "Token ID"},
	}
}

func tokenSecretField() *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeString,
		Description:  "Secret of the same Modal account token (as-…). Only creds returns it.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "Token secret", Sensitive: true},
	}
}

func verifyField() *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeBool,
		Default:      true,
		Description:  "Ask Modal whether it accepts the token before storing it. With false the token is stored unverified.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "Verify", Value: true},
	}
}

func gracePeriodField(text string) *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeDurationSecond,
		Description:  text,
		DisplayAttrs: &framework.DisplayAttributes{Name: "Grace period"},
	}
}

func pinnedWorkspaceField(text string) *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeString,
		Description:  text,
		DisplayAttrs: &framework.DisplayAttributes{Name: "Pinned workspace"},
	}
}

// text, secret, number and flag build response fields.
func text(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeString, Description: description}
}

func secret(description string) *framework.FieldSchema {
	return &framework.FieldSchema{
		Type: framework.TypeString, Description: description,
		DisplayAttrs: &framework.DisplayAttributes{Sensitive: true},
	}
}

func number(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeInt64, Description: description}
}

func flag(description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeBool, Description: description}
}

func required(field *framework.FieldSchema) *framework.FieldSchema {
	field.Required = true
	return field
}

// tokenFields returns the response fields of tokenView.
func tokenFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		request.FieldTokenID: text("ID of the Modal token (ak-…)."),
		fieldVerified:        flag("Whether Modal has accepted this token."),
		fieldWorkspace:       text("Name of the token's Modal workspace."),
		fieldWorkspaceID:     text("ID of the token's Modal workspace (ac-…)."),
		fieldIdentityType:    text(`Whose token it is: "user" or "service_user".`),
		fieldIdentity:        text("Name of the user or service user."),
		fieldIdentityID:      text("ID of the user (us-…) or service user (sv-…)."),
		fieldCreatedAt:       text("When Modal created the token (RFC 3339)."),
		fieldExpiresAt:       text("When the token expires at Modal (RFC 3339); absent when it does not."),
	}
}

// namesOf returns the sorted names of fields.
func namesOf(fields map[string]*framework.FieldSchema) []string {
	return slices.Sorted(maps.Keys(fields))
}

// with merges maps into a new map.
func with[V any](sets ...map[string]V) map[string]V {
	all := map[string]V{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	return all
}
