// SPDX-License-Identifier: MPL-2.0

package state

import (
	"cmp"
	"context"
	"crypto/rand"
	"math/big"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/store"
)

// Deps holds the engine's dependencies. Tests replace them.
type Deps struct {
	// Storage is the mount's storage.
	Storage store.Storage
	// MountID is part of the names of this mount's service users, so that two mounts never confuse theirs.
	MountID string
	// Logger receives the log lines of the mount.
	Logger hclog.Logger
	// Emit sends an event to Vault's event bus.
	Emit func(ctx context.Context, event model.Event)
	// Now is the clock.
	Now func() time.Time
	// Wait waits until the time is over or ctx is done.
	Wait func(ctx context.Context, d time.Duration) error
	// Stagger is called by one of several jobs before it begins, and by a caller that waited for a lock. A simulation
	// uses it to delay each by a time of its own: if two continued at the same instant, their sequence would not depend
	// on the seed alone. A nil Stagger does nothing.
	Stagger func(job string)
	// Connect returns a connection to a Modal server. It does no I/O.
	Connect func(modalapi.Options) (Modal, error)
}

// Mount is the state of one mount: its tables in storage, its locks, its connections to Modal, and its due times. It
// holds no rules: those are in the package model.
type Mount struct {
	deps        Deps
	connections *Connections

	// Config has one entry, with an empty name.
	Config *store.Table[model.Config]
	// Roles holds the roles' policies, by role name.
	Roles *store.Table[model.Role]
	// Credentials holds the roles' current tokens, by role name.
	Credentials *store.Table[model.Credential]
	// Revocations is the revocation queue, by the revocation's ID.
	Revocations *store.Table[model.Revocation]
	// TokenOwners holds the role of each current token, by token ID.
	TokenOwners *store.Table[TokenOwner]
	// Approvals holds browser approvals, by model.ApprovalKey.
	Approvals *store.Table[model.Approval]
	// OutOfSync has one entry: the result of the comparison with Modal.
	OutOfSync *store.Table[OutOfSync]
	// Workspaces has one entry: the workspaces that the mount remembers.
	Workspaces *store.Table[model.KnownWorkspaces]

	locks *NameLocks

	// DueRoles says when each role rotates next.
	DueRoles *DueTimes
	// DueRevocations says when each revocation is tried next.
	DueRevocations *DueTimes
	// DueApprovals says when Modal is asked about each approval.
	DueApprovals *DueTimes
	// DueCreations says when each creation that may have failed is looked up.
	DueCreations *DueTimes
	// DueVerifications says when each current token is verified next.
	DueVerifications *DueTimes
	// DueWarnings says when the next expiry warning of each current token is due.
	DueWarnings *DueTimes

	// configChanges counts the changes of config: see ConfigChanges.
	configChanges atomic.Int64
	// logger names the mount.
	logger atomic.Pointer[MountLogger]
}

// NewMount returns the state of a mount. It does no I/O.
func NewMount(deps Deps) *Mount {
	m := &Mount{
		deps:     deps,
		DueRoles: NewDueTimes(), DueRevocations: NewDueTimes(), DueApprovals: NewDueTimes(),
		DueCreations: NewDueTimes(), DueVerifications: NewDueTimes(), DueWarnings: NewDueTimes(),
	}
	m.locks = NewNameLocks(m.Stagger)
	m.connections = &Connections{
		open: map[ConnectionOptions]*SharedConnection{}, dial: deps.Connect,
		warn:    func(text string) { m.Log().Warn("modal warns", "warning", text) },
		closing: func(err error) { m.Log().Debug("closing a connection to modal", "error", err) },
	}
	m.Config = store.New[model.Config](deps.Storage, KeyConfig, store.Options{
		RememberAbsent: true, // most mounts have no config, and every read asks for it
		Changed:        func(string) { m.configChanges.Add(1) },
	})
	m.Roles = store.New[model.Role](deps.Storage, PrefixRoles, store.Options{Changed: func(name string) {
		m.DueRoles.Touch(name)
		m.DueWarnings.Touch(name)
	}})
	m.Credentials = store.New[model.Credential](deps.Storage, PrefixCredentials, store.Options{Changed: func(name string) {
		m.DueRoles.Touch(name)
		m.DueVerifications.Touch(name)
		m.DueWarnings.Touch(name)
	}})
	m.Revocations = store.New[model.Revocation](deps.Storage, PrefixRevocations, store.Options{Changed: func(id string) {
		m.DueRevocations.Touch(id)
		m.DueCreations.Touch(id)
	}})
	m.TokenOwners = store.New[TokenOwner](deps.Storage, PrefixTokenOwners, store.Options{})
	m.OutOfSync = store.New[OutOfSync](deps.Storage, KeyOutOfSync, store.Options{RememberAbsent: true})
	m.Workspaces = store.New[model.KnownWorkspaces](deps.Storage, KeyWorkspace, store.Options{RememberAbsent: true})
	m.Approvals = store.New[model.Approval](deps.Storage, PrefixApprovals, store.Options{Changed: m.DueApprovals.Touch})
	m.SetPath("")
	return m
}

// ConfigChanges returns how many changes of config this node has seen. Code that remembers an answer of Modal's
// remembers the count too: another admin token may get another answer.
func (m *Mount) ConfigChanges() int64 { return m.configChanges.Load() }

// Wait waits until d is over or ctx is done.
func (m *Mount) Wait(ctx context.Context, d time.Duration) error { return m.deps.Wait(ctx, d) }

// Stagger calls Deps.Stagger if it is set. Jobs that run at the same time have different names.
func (m *Mount) Stagger(job string) {
	if m.deps.Stagger != nil {
		m.deps.Stagger(job)
	}
}

// Jitter returns a random part of a duration. It uses the same source of randomness as names, which a test can seed.
func (m *Mount) Jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	n, err := rand.Int(rand.Reader, big.NewInt(int64(most)))
	if err != nil {
		return 0
	}
	return time.Duration(n.Int64())
}

// NewGenerationID returns a random ID that tells a role from a later one of the same name.
func (m *Mount) NewGenerationID() string { return rand.Text()[:8] }

// Close closes the connections to Modal.
func (m *Mount) Close() { m.connections.Close() }

// Commands returns the spelling of commands for this mount.
func (m *Mount) Commands() model.Commands { return model.Commands{MountPath: m.Path()} }

// Path returns the path of the mount, for texts that are not commands.
func (m *Mount) Path() string { return cmp.Or(m.logger.Load().path, "modal/") }

// ServiceUserPrefix returns the prefix of the names of this mount's service users.
func (m *Mount) ServiceUserPrefix() string { return m.NamePrefix() }

// Now returns the time in the precision of storage.
func (m *Mount) Now() time.Time { return model.WholeSeconds(m.deps.Now()) }

// Invalidate drops the cached copy of a storage key that another node wrote.
func (m *Mount) Invalidate(key string) {
	m.Config.Invalidate(key)
	m.Roles.Invalidate(key)
	m.Credentials.Invalidate(key)
	m.Revocations.Invalidate(key)
	m.TokenOwners.Invalidate(key)
	m.Approvals.Invalidate(key)
	m.OutOfSync.Invalidate(key)
	m.Workspaces.Invalidate(key)
}

// ServiceUserName returns a new random name that contains the mount's ID and a text. If the text is unusable, the name
// contains the role's name. The mount's ID keeps two mounts in one workspace from confusing their service users.
func (m *Mount) ServiceUserName(role, text string) string {
	return model.ServiceUserName(m.NamePrefix(), text, role, strings.ToLower(rand.Text()[:8]))
}

// NamePrefix returns the prefix of the names of this mount's service users.
func (m *Mount) NamePrefix() string { return "vault-" + m.deps.MountID + "-" }
