// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Change is a write's change of one field.
type Change[T any] struct {
	// Set says that the write has the field. An absent or null field keeps its value. Reset says that the field is
	// "", which restores the default.
	Set, Reset bool
	// Value is the new value if the field is set and not reset.
	Value T
}

// Apply returns the field's value after the change.
func (c Change[T]) Apply(current, standard T) T {
	switch {
	case !c.Set:
		return current
	case c.Reset:
		return standard
	}
	return c.Value
}

// Supplied is the token that a request brings.
type Supplied struct {
	Token    *modalapi.Token // nil if the request brings no token
	Verify   bool            // ask Modal before the token is stored
	Warnings []string        // what looks odd about the token ID and secret
	Given    []string        // the token fields that the request has
}

// RefuseForManaged refuses token fields for a managed role, because the engine creates its tokens.
func (s Supplied) RefuseForManaged() error {
	if len(s.Given) == 0 {
		return nil
	}
	return UserErrorf("the engine creates the tokens of this role, and %s: leave %s out; nothing was changed",
		fieldsOf(s.Given, TypeStatic), itOrThem(s.Given))
}

// fieldsOf says in words which role types some fields are for.
func fieldsOf(fields []string, types ...string) string {
	is := "is"
	if len(fields) > 1 {
		is = "are"
	}
	return fmt.Sprintf("%s %s for %s roles", strings.Join(fields, ", "), is, strings.Join(types, " and "))
}

func itOrThem(fields []string) string {
	if len(fields) > 1 {
		return "them"
	}
	return "it"
}

// ConfigWrite is a write to config.
type ConfigWrite struct {
	Supplied

	// Expect says whether config existed when Vault checked the caller's capability.
	Expect Expectation
	// RemoveAdmin removes the admin token.
	RemoveAdmin bool
	// Force accepts an admin token of another workspace, and a new CA.
	Force           bool
	PinnedWorkspace Change[string]
	// Grace is the grace period of the replaced admin token. It is nil for the default.
	Grace             *time.Duration
	ServerURL, CACert Change[string]
	RequestTimeout    Change[time.Duration]

	VerificationInterval Change[time.Duration]
	AllowedEnvironments  Change[[]string]
	MaxEnvironmentRole   Change[modalapi.EnvironmentRole]
	Paused               Change[bool]
}

// RoleWrite is a write to roles/<role>.
type RoleWrite struct {
	Supplied

	Name                                         string
	Type, Description, Profile, Environment      Change[string]
	RefreshInterval, GracePeriod, RotationPeriod Change[time.Duration]
	RevokePrevious                               Change[bool]
	Access                                       AccessWrite
	Managed                                      ManagedWrite
	Dynamic                                      DynamicWrite
	Force                                        bool
	Expect                                       Expectation
}

// checkFields refuses the fields that a role of this type does not have. The error names all of them.
func (ask RoleWrite) checkFields(roleType string) error {
	static := ask.Given
	if ask.RevokePrevious.Set {
		static = append(slices.Clone(static), "revoke_previous")
	}
	var wrong, mistakes []string
	for _, group := range []struct{ fields, types []string }{
		{static, []string{TypeStatic}},
		{ask.Access.Given, []string{TypeManaged, TypeDynamic}},
		{ask.Managed.Given, []string{TypeManaged}},
		{ask.Dynamic.Given, []string{TypeDynamic}},
	} {
		if len(group.fields) > 0 && !slices.Contains(group.types, roleType) {
			wrong = append(wrong, group.fields...)
			mistakes = append(mistakes, fieldsOf(group.fields, group.types...))
		}
	}
	if len(mistakes) == 0 {
		return nil
	}
	return UserErrorf("role %s is %s, and %s: leave %s out; nothing was changed", ask.Name, roleType, strings.Join(mistakes, ", "), itOrThem(wrong))
}

// AccessWrite holds the fields for the rights of a role's service users.
type AccessWrite struct {
	EnvironmentRoles Change[map[string]modalapi.EnvironmentRole]
	Scoped           Change[bool]
	Given            []string // the names of these fields that the write has
}

// ManagedWrite holds the fields of managed roles.
type ManagedWrite struct {
	Disabled               Change[bool]
	TokenTTL, Window, Hold Change[time.Duration]
	Schedule               Change[string]
	Given                  []string // the names of these fields that the write has
}

// DynamicWrite holds the fields of dynamic roles.
type DynamicWrite struct {
	TTL, MaxTTL  Change[time.Duration]
	MaxLeases    Change[int]
	NameTemplate Change[string]
	Given        []string // the names of these fields that the write has
}

// RotateRequest is a write to rotate/<role>, with or without dry_run.
type RotateRequest struct {
	Supplied

	Role       string
	Grace      *time.Duration // nil for the role's grace period
	Force      bool
	ToPrevious bool
}

// AdminRotation is a write to config/rotate.
type AdminRotation struct {
	Supplied

	Grace *time.Duration // nil for the default
	Force bool
}

// ApprovalRequest is a write that begins an approval.
type ApprovalRequest struct {
	// Role is empty for the admin token.
	Role string
	// TokenTTL is the token's lifetime. Zero leaves it to Modal.
	TokenTTL time.Duration
	// Grace is the grace period of the replaced token. It is nil for the role's grace period, or config's default.
	Grace *time.Duration
	// LapseAfter is how long the engine waits for a person to approve.
	LapseAfter time.Duration
	// Force accepts a token of another workspace or user than the current token's.
	Force bool
	// PinnedWorkspace is the name or the ID of the workspace that the approved token must belong to.
	PinnedWorkspace string
}

// GraceOr returns the grace period of the previous token: the request's, or else the role's.
func (ask RotateRequest) GraceOr(role time.Duration) time.Duration {
	if ask.Grace == nil {
		return role
	}
	return *ask.Grace
}

// Expectation says whether a role, or config, existed when Vault checked the caller's capability: `create` or
// `update`.
type Expectation int

// Expectations of a write.
const (
	NoExpectation Expectation = iota // the write may create or update
	ExpectAbsent
	ExpectPresent
)

// Check refuses a write if another request has created or deleted the object since Vault checked the caller's
// capability. A caller who may only create must not change an existing object, and the reverse.
func (x Expectation) Check(what string, exists bool) error {
	switch {
	case exists && x == ExpectAbsent:
		return UserErrorf("another request has created %s in the meantime: read it, then write again; nothing was changed", what)
	case !exists && x == ExpectPresent:
		return UserErrorf("another request has deleted %s in the meantime: write again to create it; nothing was changed", what)
	}
	return nil
}

// TokenFor returns the token that an operator brings to a static role.
func (ask RotateRequest) TokenFor(now *Rotation, run Commands) (modalapi.Token, error) {
	if ask.Token == nil {
		return modalapi.Token{}, UserErrorf("role %s is static, so a person must create its tokens: approve a token in a browser with: %s; "+
			"or create a token at %s, then: %s; nothing was changed",
			now.Name, run.Approve(now.Name), TokensPage, run.BringToken(now.Name))
	}
	return *ask.Token, nil
}
