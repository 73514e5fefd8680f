// SPDX-License-Identifier: MPL-2.0

// Package sim lives whole lives of a mount: operators, readers and Vault's ticker against the engine,
// an emulated Modal that fails, storage that fails, nodes that die and follow each other, clocks that are
// wrong, and time that passes by months. All of it comes from the draws of one seed, and the same seed
// gives the same life.
//
// It knows the engine by the interface Engine alone, and judges it by what Modal and storage hold, never
// by the engine's own code.
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

// World is what a node's engine is given of the world.
type Deps struct {
	Storage logical.Storage
	// Now is the node's clock, which may be off by hours.
	Now     func() time.Time
	Sleep   func(ctx context.Context, d time.Duration) error
	Stagger func(n int)
	Random  func() float64
	Dial    func(ctx context.Context, address string) (net.Conn, error)
	// Standby is a node that only reads.
	Standby bool
	Mount   string
	Log     io.Writer
}

// Engine is a mount on one node, as people and Vault use it.
type Engine interface {
	WriteConfig(ctx context.Context, c Config) error
	RotateAdmin(ctx context.Context, r AdminRotation) (RotationResult, error)
	WriteRole(ctx context.Context, role string, settings RoleSettings) error
	DeleteRole(ctx context.Context, role string, force bool) error
	Rotate(ctx context.Context, role string, r Rotation) (RotationResult, error)
	// BeginApproval begins a browser approval of a role's next token, of the admin's where role is empty.
	BeginApproval(ctx context.Context, role string, a Approval) error
	// ReadApproval is the state of an approval, empty for none.
	ReadApproval(ctx context.Context, role string, wait time.Duration) (state string, err error)
	CancelApproval(ctx context.Context, role string) error
	// Retry ends an entry of the ledger now; revoked says that Modal refuses its token.
	Retry(ctx context.Context, id string, force bool) (revoked bool, err error)
	Forget(ctx context.Context, id string, force bool) error
	// Read is what a consumer gets, nil for a role that does not exist.
	Read(ctx context.Context, role string) (*Credentials, error)
	// State is how a role stands, as its list tells it.
	State(ctx context.Context, role string) (string, error)
	Revocations(ctx context.Context) ([]string, error)
	// NewLease is a read of a dynamic role, nil for a role that does not exist, or is no dynamic one.
	NewLease(ctx context.Context, role string) (*Lease, error)
	// Renew lets a lease run on, and says for how long from now.
	Renew(ctx context.Context, l *Lease, issued time.Time, increment time.Duration) (time.Duration, error)
	EndLease(ctx context.Context, l *Lease) error
	// Verify asks Modal about a role's current token.
	Verify(ctx context.Context, role string) (Verification, error)
	// Orphans are the service users of this mount that storage knows nothing of.
	Orphans(ctx context.Context) ([]string, error)
	// Tidy ends orphans, or accepts them.
	CleanUpOrphans(ctx context.Context, t CleanupRequest) (CleanupResult, error)
	// OutOfSync says that the mount ends nothing by itself.
	OutOfSync(ctx context.Context) (bool, error)
	Tick(ctx context.Context) error
	Invalidate(ctx context.Context, key string)
	Stop()
}

// Start makes an engine as a node's process does.
type Start func(ctx context.Context, deps Deps) (Engine, error)

// MistakeError is an answer that puts the fault on who asked: nothing failed.
type UserError struct{ Text string }

func (m *UserError) Error() string { return m.Text }

func isUserError(err error) bool {
	var m *UserError
	return errors.As(err, &m)
}

// Pair is a token as its owner has it. It prints as its ID.
type Token struct{ ID, Secret string }

func (p Token) String() string { return p.ID }

// Config is a write of config; what is nil is not said.
type Config struct {
	ServerURL          *string
	Admin              *Token
	RemoveAdmin        bool
	MaxEnvironmentRole *string
	// AllowedEnvironments is a comma-separated list, empty for all.
	AllowedEnvironments *string
	RequestTimeout      *time.Duration
	// Grace is how long a replaced admin token works on.
	Grace *time.Duration
	// Pinned is the workspace that every token has to belong to, empty for any.
	Pinned *string
	Force  bool
	// Verification is how often current tokens are verified, 0 for never.
	Verification *time.Duration
	Paused       *bool
}

// AdminRotation is what config/rotate was asked for.
type AdminRotation struct {
	Token  Token
	Force bool
	Grace *time.Duration
}

// Approval is what a browser approval was asked for.
type Approval struct {
	TTL        *time.Duration
	Grace      *time.Duration
	LapseAfter *time.Duration
	Force      bool
}

// Policy is a write of a role; what is nil is not said.
type RoleSettings struct {
	Type             *string
	Token             *Token
	Unverified         bool
	Force            bool
	EnvironmentRoles *string
	Refresh          *time.Duration
	Grace            *time.Duration
	Period           *time.Duration
	Schedule         *string
	TTL              *time.Duration
	Scoped           *bool
	Disabled         *bool
	RevokePrevious   *bool
	// Hold is how much longer a previous token lives while it is used.
	HoldWhileUsed *time.Duration
	// LeaseTTL, MaxTTL and MaxLeases are of dynamic roles.
	LeaseTTL, MaxTTL *time.Duration
	MaxLeases        *int
}

// String is what the write says, without a secret.
func (settings RoleSettings) String() string { return describeWrite(settings) }

// String is what the write says.
func (a Approval) String() string { return describeWrite(a) }

// String is what the write says, without a secret.
func (c Config) String() string { return describeWrite(c) }

func describeWrite(write any) string {
	var said []string
	v := reflect.ValueOf(write)
	for i := range v.NumField() {
		switch field := v.Field(i); {
		case field.Kind() == reflect.Bool && field.Bool():
			said = append(said, v.Type().Field(i).Name)
		case field.Kind() == reflect.Pointer && !field.IsNil():
			said = append(said, fmt.Sprintf("%s=%v", v.Type().Field(i).Name, field.Elem()))
		}
	}
	return strings.Join(said, " ")
}

// Rotation is what rotate was asked for.
type Rotation struct {
	Token       *Token
	Unverified   bool
	Force      bool
	ToPrevious bool
	DryRun     bool
	Grace      *time.Duration
}

// Turnover is what rotate answered.
type RotationResult struct {
	Version    int64
	TokenID    string
	PreviousID string
	// NotBefore is until when the previous token was promised.
	NotBefore time.Time
}

// Handout is what a consumer keeps of a read.
type Credentials struct {
	ID, Secret string
	Version    int64
}

// Lease is what one read of a dynamic role gave, and what Vault keeps of it.
type Lease struct {
	Credentials

	Role     string
	TTL, Max time.Duration
	// Remembers is what the engine wants to be told again.
	InternalData map[string]any
}

// Verification is what verify answered.
type Verification struct{ Accepted, RolesDiffer bool }

// Tidying is what a write to orphans asked for.
type CleanupRequest struct {
	Names          []string
	DryRun, Accept bool
}

// Tidied is what it answered.
type CleanupResult struct {
	Names     []string
	Left      int64
	OutOfSync bool
}

// Spec is what the engine is held to beyond the invariants that always hold. A field that is false is a
// promise of the design that the engine does not make yet, or a fault that is known.
type Spec struct {
	// DeleteKeepsGrace: the token of a deleted role lives for the role's grace period.
	DeleteKeepsGrace bool
	// Heals: a managed role whose token Modal refuses is rotated without being asked.
	Heals bool
	// ThrottleMayHideWork: Modal may have done what it then throttles.
	ThrottleMayHideWork bool
}
