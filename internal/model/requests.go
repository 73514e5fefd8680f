// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Change is what a write says of one field: nothing, where the field is absent or null; back to the
// default, where it is ""; or a value.
type Change[T any] struct {
	Set, Reset bool
	Value      T
}

// Apply is the field's value after the change.
func (c Change[T]) Apply(current, standard T) T {
	switch {
	case !c.Set:
		return current
	case c.Reset:
		return standard
	}
	return c.Value
}

// Supplied is the token that a request brings, and how it is to be taken.
type Supplied struct {
	Token    *modalapi.Token // nil where the request brings none
	Verify   bool            // Modal is asked before the token is stored
	Warnings []string        // what looks odd about the pair
	Given    []string        // the fields of these that the request has
}

// RefuseForManaged refuses the fields that only an operator of a static role brings.
func (s Supplied) RefuseForManaged() error {
	if len(s.Given) == 0 {
		return nil
	}
	return UserErrorf("the engine creates the tokens of this role, and %s: leave %s out; nothing was changed",
		fieldsOf(s.Given, TypeStatic), itOrThem(s.Given))
}

// fieldsOf says which roles some fields are for.
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

// ConfigWrite is what a write to config asks for.
type ConfigWrite struct {
	Supplied

	Expect            Expectation
	RemoveAdmin       bool
	Force             bool
	PinnedWorkspace   Change[string]
	Grace             *time.Duration // of the admin token that is replaced; nil for the default
	ServerURL, CACert Change[string]
	RequestTimeout    Change[time.Duration]

	VerificationInterval Change[time.Duration]
	AllowedEnvironments  Change[[]string]
	MaxEnvironmentRole   Change[modalapi.EnvironmentRole]
	Paused               Change[bool]
}

// RoleWrite is what a write to roles/<role> asks for.
type RoleWrite struct {
	Supplied

	Name                                         string
	Kind, Profile, Environment                   Change[string]
	RefreshInterval, GracePeriod, RotationPeriod Change[time.Duration]
	RevokePrevious                               Change[bool]
	Access                                       AccessWrite
	Managed                                      ManagedWrite
	Dynamic                                      DynamicWrite
	Force                                        bool
	Expect                                       Expectation
}

// refuseForeign refuses the fields that a role of this type does not have, all of them at once.
func (ask RoleWrite) refuseForeign(kind string) error {
	static := ask.Given
	if ask.RevokePrevious.Set {
		static = append(slices.Clone(static), "revoke_previous")
	}
	var foreign, mistakes []string
	for _, group := range []struct{ fields, types []string }{
		{static, []string{TypeStatic}},
		{ask.Access.Given, []string{TypeManaged, TypeDynamic}},
		{ask.Managed.Given, []string{TypeManaged}},
		{ask.Dynamic.Given, []string{TypeDynamic}},
	} {
		if len(group.fields) > 0 && !slices.Contains(group.types, kind) {
			foreign = append(foreign, group.fields...)
			mistakes = append(mistakes, fieldsOf(group.fields, group.types...))
		}
	}
	if len(mistakes) == 0 {
		return nil
	}
	return UserErrorf("role %s is %s, and %s: leave %s out; nothing was changed", ask.Name, kind, strings.Join(mistakes, ", "), itOrThem(foreign))
}

// AccessWrite is what a write says of what a role's service users may do.
type AccessWrite struct {
	EnvironmentRoles Change[map[string]modalapi.EnvironmentRole]
	Scoped           Change[bool]
	Given            []string // the fields of these that the write has
}

// ManagedWrite is what a write says of the fields of managed roles.
type ManagedWrite struct {
	Disabled               Change[bool]
	TokenTTL, Window, Hold Change[time.Duration]
	Schedule               Change[string]
	Given                  []string // the fields of these that the write has
}

// DynamicWrite is what a write says of the fields of dynamic roles.
type DynamicWrite struct {
	TTL, MaxTTL Change[time.Duration]
	MaxLeases   Change[int]
	Given       []string // the fields of these that the write has
}

// RotateRequest is what a write to rotate/<role> asks for, as a dry run or in earnest.
type RotateRequest struct {
	Supplied

	Role       string
	Grace      *time.Duration // nil for the role's
	Force      bool
	ToPrevious bool
}

// AdminRotation is what a write to config/rotate asks for.
type AdminRotation struct {
	Supplied

	Grace *time.Duration // nil for the default
	Force bool
}

// ApprovalRequest is what the beginning of an approval asks for. Role is empty for the admin token.
type ApprovalRequest struct {
	Role       string
	TokenTTL   time.Duration  // zero leaves it to Modal
	Grace      *time.Duration // of the token that is replaced; nil for the role's, or config's default
	LapseAfter time.Duration
	Force      bool
	// PinnedWorkspace is the name or the ID of the workspace that the approved token has to belong to.
	PinnedWorkspace string
}

// GraceOr is the grace period of the previous token, where the role says otherwise.
func (ask RotateRequest) GraceOr(role time.Duration) time.Duration {
	if ask.Grace == nil {
		return role
	}
	return *ask.Grace
}

// Expectation is for what a caller's rights were checked: a role, or the configuration, that was there
// or not.
type Expectation int

// What a caller's rights were checked for.
const (
	ExpectNothing Expectation = iota
	ExpectAbsent
	ExpectPresent
)

// Check refuses a write whose rights were checked for a state that is gone: whoever may only create does
// not change what another request made meanwhile, nor the other way round.
func (x Expectation) Check(what string, exists bool) error {
	switch {
	case exists && x == ExpectAbsent:
		return UserErrorf("%s was made by another request meanwhile: read it, then write again; nothing was changed", what)
	case !exists && x == ExpectPresent:
		return UserErrorf("%s was deleted by another request meanwhile: write again to make it anew; nothing was changed", what)
	}
	return nil
}

// TokenFor is the pair that an operator brings to a static role.
func (ask RotateRequest) TokenFor(now *Rotation, mount string) (modalapi.Token, error) {
	if ask.Token == nil {
		return modalapi.Token{}, UserErrorf("role %s is static, so a person makes its tokens: approve one in a browser with: vault write -f %srotate/%s/approval; "+
			"or make one at %s, then: vault write %srotate/%s token_id=… token_secret=-; nothing was changed",
			now.Name, mount, now.Name, TokensPage, mount, now.Name)
	}
	return *ask.Token, nil
}
