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

// Deps is what an engine needs of the world, which a test gives in place of the real thing.
type Deps struct {
	// Storage is the mount's own.
	Storage store.Storage
	// MountID tells this mount's service users from another's.
	MountID string
	Logger  hclog.Logger
	// Emit hears of each event.
	Emit func(ctx context.Context, event model.Event)
	// Now is the clock, and Wait waits until the time is over or ctx is.
	Now  func() time.Time
	Wait func(ctx context.Context, d time.Duration) error
	// Stagger is called by the nth of several jobs before it begins, and by whoever waited for a lock, so
	// that in a simulation no two go on at one instant: a seed would not tell their order. Nil does nothing.
	Stagger func(n int)
	// Connect makes a connection to a Modal. It does no I/O.
	Connect func(modalapi.Options) (Modal, error)
}

// Mount is the state of one mount: its tables in storage, its locks, its connections to Modal, and when its parts are
// due. Its methods keep no rules: those are in the package model.
type Mount struct {
	deps        Deps
	connections *Connections

	Config      *store.Table[model.Config]
	Roles       *store.Table[model.Role]
	Credentials *store.Table[model.Credential]
	// Queue is the revocation queue.
	Queue       *store.Table[model.Revocation]
	TokenOwners *store.Table[TokenOwner]
	Approvals   *store.Table[model.Approval]
	OutOfSync   *store.Table[OutOfSync]
	Workspaces  *store.Table[model.KnownWorkspaces]

	locks *NameLocks

	// When a role is rotated next, a revocation tried, an approval asked about, a creation that may have failed
	// settled, a current token verified, and a token's expiry warned of.
	DueRoles, DueRevocations, DueApprovals, DueCreations, DueVerifications, DueWarnings *DueTimes

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
	m.locks = NewNameLocks(func() { m.Stagger(LockTurn) })
	m.connections = &Connections{
		open: map[ConnectionOptions]*SharedConnection{}, dial: deps.Connect,
		warn:    func(text string) { m.Log().Warn("modal warns", "warning", text) },
		closing: func(err error) { m.Log().Debug("closing a connection to modal", "error", err) },
	}
	m.Config = store.New[model.Config](deps.Storage, KeyConfig, store.Options{
		RememberAbsent: true, // most mounts have none, and every read asks
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
	m.Queue = store.New[model.Revocation](deps.Storage, PrefixRevocations, store.Options{Changed: func(id string) {
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

// ConfigChanges counts the changes of config that this node has seen. Whoever remembers an answer of Modal's keeps the
// count with it: another admin token may see what this one did not.
func (m *Mount) ConfigChanges() int64 { return m.configChanges.Load() }

// Wait waits until d is over or ctx is.
func (m *Mount) Wait(ctx context.Context, d time.Duration) error { return m.deps.Wait(ctx, d) }

// Stagger is called by the nth of several jobs before it begins: see Deps.
func (m *Mount) Stagger(n int) {
	if m.deps.Stagger != nil {
		m.deps.Stagger(n)
	}
}

// Jitter returns a random part of a duration. The randomness is the one that names are made of, which a test can seed.
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

// NewGenerationID returns what tells a role from a later one of the same name.
func (m *Mount) NewGenerationID() string { return rand.Text()[:8] }

// Close closes the connections to Modal.
func (m *Mount) Close() { m.connections.Close() }

// Commands returns the commands for this mount.
func (m *Mount) Commands() model.Commands { return model.Commands{MountPath: m.Path()} }

// Path is the path of the mount, for texts that are no commands.
func (m *Mount) Path() string { return cmp.Or(m.logger.Load().path, "modal/") }

// CommandPrefix is what stands before a path in a recommended command.
func (m *Mount) CommandPrefix() string { return m.Commands().Prefix() }

// ServiceUserPrefix begins the name of every service user that this mount makes.
func (m *Mount) ServiceUserPrefix() string { return m.NamePrefix() }

// Now is the clock in the precision of storage.
func (m *Mount) Now() time.Time { return model.WholeSeconds(m.deps.Now()) }

// Invalidate drops what is remembered of a storage key that another node wrote.
func (m *Mount) Invalidate(key string) {
	m.Config.Invalidate(key)
	m.Roles.Invalidate(key)
	m.Credentials.Invalidate(key)
	m.Queue.Invalidate(key)
	m.TokenOwners.Invalidate(key)
	m.Approvals.Invalidate(key)
	m.OutOfSync.Invalidate(key)
	m.Workspaces.Invalidate(key)
}

const maxServiceUserName = 63

// ServiceUserName is fresh and random, and tells mount and role: two mounts in one workspace never
// take each other's for their own. Modal's names are lower case with - and _.
func (m *Mount) ServiceUserName(role string) string {
	prefix := m.NamePrefix()
	suffix := "-" + strings.ToLower(rand.Text()[:8])
	role = strings.ReplaceAll(role, ".", "-")
	return prefix + role[:min(len(role), maxServiceUserName-len(prefix)-len(suffix))] + suffix
}

// NamePrefix begins the name of every service user that this mount makes.
func (m *Mount) NamePrefix() string { return "vault-" + m.deps.MountID + "-" }
