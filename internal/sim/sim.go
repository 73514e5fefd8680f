// SPDX-License-Identifier: MPL-2.0

// Package sim simulates the whole life of a mount. Operators, readers and Vault's ticker use the engine. The
// emulated Modal fails, storage fails, nodes die and take over from each other, clocks are wrong, and months pass
// in virtual time. One seed determines every draw, so the same seed gives the same run.
//
// The package knows the engine only through the interface Engine. The oracle judges the engine by the data in Modal
// and in storage, never with the engine's own code.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// Deps are the dependencies of a node's engine.
type Deps struct {
	Storage logical.Storage
	// Now reads the node's clock, which may be wrong by hours.
	Now     func() time.Time
	Sleep   func(ctx context.Context, d time.Duration) error
	Stagger func(job string)
	Random  func() float64
	Dial    func(ctx context.Context, address string) (net.Conn, error)
	// Standby says that the node only reads.
	Standby bool
	Mount   string
	Log     io.Writer
	// Event gets every event.
	Event func(e Event)
}

// Engine is the mount on one node, as people and Vault use it.
type Engine interface {
	WriteConfig(ctx context.Context, c Config) error
	RotateAdmin(ctx context.Context, r AdminRotation) (RotationResult, error)
	WriteRole(ctx context.Context, role string, settings RoleSettings) error
	DeleteRole(ctx context.Context, role string, force bool) error
	Rotate(ctx context.Context, role string, r Rotation) (RotationResult, error)
	// BeginApproval begins a browser approval for a role's next token. An empty role means the admin token.
	BeginApproval(ctx context.Context, role string, a Approval) error
	// ReadApproval returns the state of an approval, or "" if there is no approval.
	ReadApproval(ctx context.Context, role string, wait time.Duration) (state string, err error)
	CancelApproval(ctx context.Context, role string) error
	// Retry processes a revocation now. revoked reports that Modal rejects the token.
	Retry(ctx context.Context, id string, force bool) (revoked bool, err error)
	Forget(ctx context.Context, id string, force bool) error
	// Read returns the credentials that a consumer gets. The result is nil if the role does not exist.
	Read(ctx context.Context, role string) (*Credentials, error)
	// State returns a role's state, as the role list shows it.
	State(ctx context.Context, role string) (string, error)
	Revocations(ctx context.Context) ([]string, error)
	// NewLease reads a dynamic role for a reader with a display name. The result is nil if the role does not exist or
	// is not dynamic.
	NewLease(ctx context.Context, role, displayName string) (*Lease, error)
	// Renew extends a lease and returns the time it has left from now.
	Renew(ctx context.Context, l *Lease, issued time.Time, increment time.Duration) (time.Duration, error)
	EndLease(ctx context.Context, l *Lease) error
	// Lookup tells which role, lease or revocation a token belongs to.
	Lookup(ctx context.Context, tokenID string) (Lookup, error)
	// Status returns the counts and flags of the mount.
	Status(ctx context.Context) (Status, error)
	// Verify asks Modal about a role's current token.
	Verify(ctx context.Context, role string) (Verification, error)
	// Orphans lists the service users of this mount that storage does not know.
	Orphans(ctx context.Context) ([]string, error)
	// CleanUpOrphans deletes orphans or accepts them.
	CleanUpOrphans(ctx context.Context, t CleanupRequest) (CleanupResult, error)
	// OutOfSync reports whether the mount is out of sync and therefore deletes nothing by itself.
	OutOfSync(ctx context.Context) (bool, error)
	Tick(ctx context.Context) error
	Invalidate(ctx context.Context, key string)
	Stop()
}

// Start starts an engine, as a node's process does.
type Start func(ctx context.Context, deps Deps) (Engine, error)

// UserError reports that the caller's request was wrong. Nothing failed.
type UserError struct{ Text string }

func (m *UserError) Error() string { return m.Text }

func isUserError(err error) bool {
	var m *UserError
	return errors.As(err, &m)
}

// Token is a token as its owner knows it. It prints as its ID.
type Token struct{ ID, Secret string }

func (p Token) String() string { return p.ID }

// Config is a write of config. A nil field is absent from the request.
type Config struct {
	ServerURL          *string
	CACert             *string // in PEM
	Admin              *Token
	Unverified         bool // of the admin token
	RemoveAdmin        bool
	MaxEnvironmentRole *string
	// AllowedEnvironments is a comma-separated list. An empty list allows all environments.
	AllowedEnvironments *string
	RequestTimeout      *time.Duration
	// Grace is how long a replaced admin token stays valid.
	Grace *time.Duration
	// Pinned is the workspace that every token must belong to. Empty allows any workspace.
	Pinned *string
	Force  bool
	// Verification is the interval between verifications of current tokens. 0 means never.
	Verification *time.Duration
	Paused       *bool
}

// AdminRotation is a request to config/rotate.
type AdminRotation struct {
	Token Token
	Force bool
	Grace *time.Duration
}

// Approval is a request for a browser approval.
type Approval struct {
	TTL        *time.Duration
	Grace      *time.Duration
	LapseAfter *time.Duration
	Force      bool
}

// RoleSettings is a write of a role. A nil field is absent from the request.
type RoleSettings struct {
	Type             *string
	Token            *Token
	Unverified       bool
	Force            bool
	EnvironmentRoles *string
	Description      *string
	Environment      *string
	Refresh          *time.Duration
	Grace            *time.Duration
	Period           *time.Duration
	Schedule         *string
	Window           *time.Duration // rotation_window
	TTL              *time.Duration
	Scoped           *bool
	Disabled         *bool
	RevokePrevious   *bool
	// HoldWhileUsed is how much longer a previous token stays valid while consumers still use it.
	HoldWhileUsed *time.Duration
	// LeaseTTL, MaxTTL and MaxLeases apply to dynamic roles.
	LeaseTTL, MaxTTL *time.Duration
	MaxLeases        *int
	// NameTemplate is the service_user_name_template.
	NameTemplate *string
}

// String lists the fields of the write, without secrets.
func (s RoleSettings) String() string { return describeWrite(s) }

// String lists the fields of the write, without secrets.
func (a Approval) String() string { return describeWrite(a) }

// String lists the fields of the write, without secrets.
func (c Config) String() string { return describeWrite(c) }

func describeWrite(write any) string {
	var said []string
	v := reflect.ValueOf(write)
	for i := range v.NumField() {
		switch field := v.Field(i); {
		case field.Kind() == reflect.Bool && field.Bool():
			said = append(said, v.Type().Field(i).Name)
		case field.Kind() == reflect.Pointer && !field.IsNil():
			value := fmt.Sprint(field.Elem())
			if certificates := strings.Count(value, "BEGIN CERTIFICATE"); certificates > 0 {
				value = fmt.Sprintf("(%d certificates)", certificates)
			}
			said = append(said, v.Type().Field(i).Name+"="+value)
		}
	}
	return strings.Join(said, " ")
}

// Rotation is a request to rotate.
type Rotation struct {
	Token      *Token
	Unverified bool
	Force      bool
	ToPrevious bool
	DryRun     bool
	Grace      *time.Duration
}

// RotationResult is the answer to a rotation.
type RotationResult struct {
	Version    int64
	TokenID    string
	PreviousID string
	// NotBefore is the time until which the answer promises that the previous token works.
	NotBefore time.Time
}

// Credentials is the answer to a read. TTL, Period and LastRotation are the rotation metadata, which a lease does not
// have.
type Credentials struct {
	ID, Secret             string
	Version                int64
	TTL, Period            time.Duration
	LastRotation, Expires  time.Time
	ServerURL, Environment string
	Warnings               []string
}

// Lookup is the answer to a lookup.
type Lookup struct {
	Kind, Role, Description, Revocation string
	Version                             int64
	// Warned says that the answer has a warning, for example that Modal did not answer.
	Warned bool
}

// Status is the answer to a read of status: counts by name, and flags.
type Status struct {
	Counts            map[string]int64
	Paused, OutOfSync bool
}

// Event is an event on Vault's event bus.
type Event struct {
	Kind string
	Data map[string]string
}

// Lease is the answer to one read of a dynamic role, with the data that Vault keeps for it.
type Lease struct {
	Credentials

	Role     string
	TTL, Max time.Duration
	// InternalData is the lease data that Vault passes back to the engine.
	InternalData map[string]any
}

// Verification is the answer to a verification.
type Verification struct{ Accepted, RolesDiffer bool }

// CleanupRequest is a write to orphans.
type CleanupRequest struct {
	Names          []string
	DryRun, Accept bool
}

// CleanupResult is the answer to a CleanupRequest.
type CleanupResult struct {
	Names     []string
	Left      int64
	OutOfSync bool
}

// Spec lists the promises that the oracle checks beyond the invariants that always hold. A false field is a promise
// that the engine does not keep yet, or a known fault.
type Spec struct {
	// DeleteKeepsGrace: the token of a deleted role works for the role's grace period.
	DeleteKeepsGrace bool
	// Heals: if Modal rejects a managed role's token, the engine rotates the role without a request.
	Heals bool
	// ThrottleMayHideWork: Modal may have done the work of a call that it answers with "slow down".
	ThrottleMayHideWork bool
}
