// SPDX-License-Identifier: MPL-2.0

// Package engine keeps Modal account tokens for roles: it creates, rotates, undoes and deletes them, and
// follows every token that a role no longer hands out until Modal refuses it. It speaks of tokens, with
// typed values and errors: it knows neither Vault's requests nor Modal's wire.
//
// What holds after a crash at any write, and the code that keeps it:
//   - A token becomes current only after Modal accepted it as the identity it should be, or after an
//     operator said verify=false (mint.go, rotation_static.go, role_static.go, undo.go).
//   - A role that had a working token has one: the Put of the credential is the rotation (rotation.go).
//   - Every service user that this mount made is a role's current one or in the ledger, which knows it
//     before Modal does (mint.go).
//   - A token is called revoked only after Modal refused it (revoke.go).
//   - With the admin token the engine deletes only what this mount made, by ID, unless an operator says
//     force (revocation.go: ours); with a member's pair only that very token, or an older one of the same
//     person's (end_member.go).
//   - A token that a person approved is in the ledger before anything is asked about it
//     (approval_advance.go: receive).
//   - A stored secret is sent only to the server that accepted it, and handed out only with it (client.go:
//     connectTo; config.go: clientServerURL).
//   - What cannot be taken back is in storage before Modal is asked (attend.go: admit; revoke.go: begin).
//   - Rotate, worker, update and delete of one role never overlap, and decide under its lock
//     (role_lock.go, attend.go).
package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-modal/internal/modalapi"
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
	Emit func(ctx context.Context, event Event)
	// Now is the clock, and Wait waits until the time is over or ctx is.
	Now  func() time.Time
	Wait func(ctx context.Context, d time.Duration) error
	// Stagger is called by the nth of several jobs before it begins, and by whoever waited for a lock, so
	// that in a simulation no two go on at one instant: a seed would not tell their order. Nil does nothing.
	Stagger func(n int)
	// Connect makes a connection to a Modal. It does no I/O.
	Connect func(modalapi.Options) (Modal, error)
}

// Engine is one mount's roles, tokens and ledger.
type Engine struct {
	deps    Deps
	clients *clients

	config      *store.Table[Config]
	roles       *store.Table[Role]
	credentials *store.Table[Credential]
	revocations *store.Table[Revocation]
	holders     *store.Table[holder]
	approvals   *store.Table[Approval]
	divergence  *store.Table[divergence]
	workspaces  *store.Table[knownWorkspace]

	locks *nameLocks
	// handover is held while a token changes hands, so that no token gets two holders. Never across a
	// call to Modal.
	handover sync.Mutex

	// dueRoles and dueEntries say when a role, or an entry of the ledger, has to be attended to.
	dueRoles, dueEntries *dueTimes
	// dueApprovals are the running approvals, and followers those that this node waits for.
	dueApprovals *dueTimes
	followers    *followers
	guard        restoreGuard
	// creations are the service users that reads of dynamic roles are creating, and unfinished an index of the entries of
	// those that may have failed.
	creations  creations
	unfinished *dueTimes
	// dueChecks are when current tokens are verified. checksEvery is the interval that they were told for.
	dueChecks    *dueTimes
	checksEvery  time.Duration
	checks       sync.Mutex
	checkRetries map[string]time.Time
	// dueWarnings are when the expiry of current tokens is to be warned of, and warned the warnings that were given
	// last, by role; guarded by checks, too.
	dueWarnings *dueTimes
	warned      map[string]warning
	// ticking is held for a tick, and guards swept.
	ticking sync.Mutex
	swept   bool
	// logger names the mount.
	logger atomic.Pointer[mountLogger]
}

// Storage keys. The prefixes of entries that hold a token secret are seal-wrapped.
const (
	KeyConfig        = "config"
	prefixRole       = "role/"
	prefixCredential = "cred/"
	prefixRevocation = "revocation/"
	prefixHolder     = "token/"
	prefixApproval   = "approval/"
	keyDivergence    = "orphans"
	keyWorkspace     = "workspace"
)

// SecretKeys are the keys, and prefixes of keys, of entries that hold a token secret.
func SecretKeys() []string {
	return []string{KeyConfig, prefixCredential, prefixRevocation, prefixApproval}
}

// New makes an engine. It does no I/O and starts nothing.
func New(deps Deps) *Engine {
	if deps.Stagger == nil {
		deps.Stagger = func(int) {}
	}
	e := &Engine{
		deps: deps, locks: newNameLocks(func() { deps.Stagger(lockTurn) }), followers: newFollowers(),
		dueRoles: newDueTimes(), dueEntries: newDueTimes(), dueApprovals: newDueTimes(), dueChecks: newDueTimes(), unfinished: newDueTimes(), checkRetries: map[string]time.Time{},
		dueWarnings: newDueTimes(), warned: map[string]warning{},
	}
	e.clients = &clients{
		open: map[clientOptions]*sharedClient{}, dial: deps.Connect,
		warn:    func(text string) { e.log().Warn("modal warns", "warning", text) },
		closing: func(err error) { e.log().Debug("closing a connection to modal", "error", err) },
	}
	e.config = store.New[Config](deps.Storage, KeyConfig, store.Options{
		RememberAbsent: true,                              // most mounts have none, and every read asks
		Changed:        func(string) { e.guard.forget() }, // another admin token may see what this one did not
	})
	e.roles = store.New[Role](deps.Storage, prefixRole, store.Options{Changed: func(name string) {
		e.dueRoles.touch(name)
		e.dueWarnings.touch(name)
	}})
	e.credentials = store.New[Credential](deps.Storage, prefixCredential, store.Options{Changed: func(name string) {
		e.dueRoles.touch(name)
		e.dueChecks.touch(name)
		e.dueWarnings.touch(name)
	}})
	e.revocations = store.New[Revocation](deps.Storage, prefixRevocation, store.Options{Changed: func(id string) {
		e.dueEntries.touch(id)
		e.unfinished.touch(id)
	}})
	e.holders = store.New[holder](deps.Storage, prefixHolder, store.Options{})
	e.divergence = store.New[divergence](deps.Storage, keyDivergence, store.Options{RememberAbsent: true})
	e.workspaces = store.New[knownWorkspace](deps.Storage, keyWorkspace, store.Options{RememberAbsent: true})
	e.approvals = store.New[Approval](deps.Storage, prefixApproval, store.Options{Changed: e.dueApprovals.touch})
	e.NameMount("")
	return e
}

// Now is the clock in the precision of storage.
func (e *Engine) Now() time.Time { return seconds(e.deps.Now()) }

// Invalidate drops what is remembered of a storage key that another node wrote.
func (e *Engine) Invalidate(key string) {
	e.config.Invalidate(key)
	e.roles.Invalidate(key)
	e.credentials.Invalidate(key)
	e.revocations.Invalidate(key)
	e.holders.Invalidate(key)
	e.approvals.Invalidate(key)
	e.divergence.Invalidate(key)
	e.workspaces.Invalidate(key)
}

// Close ends what runs in the background and lets the connections to Modal go.
func (e *Engine) Close() {
	e.followers.close()
	e.clients.close()
}
