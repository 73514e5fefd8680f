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
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// Engine is one mount's roles, tokens and revocation queue. Its parts share one Mount, and each does one kind of work.
type Engine struct {
	Mount       *state.Mount
	Owners      *state.Owners
	Workspaces  *state.Workspaces
	Guard       *revocation.Guard
	Queue       *revocation.Queue
	Orphans     *revocation.Orphans
	Roles       *Roles
	Rotations   *Rotations
	Leases      *Leases
	Approvals   *Approvals
	Configs     *Configs
	Verifier    *Verifier
	Revocations *Revocations
	Lookups     *Lookups
	Statuses    *Statuses
	Worker      *Worker

	minter *minter
	rights *rights
	expiry *expiryWarner
}

// New returns an engine. It does no I/O and starts nothing.
func New(deps state.Deps) *Engine {
	m := state.NewMount(deps)
	w := state.NewWorkspaces(m)
	o := state.NewOwners(m, w)
	g := revocation.NewGuard(m)
	q := revocation.NewQueue(m, o, g)
	e := &Engine{Mount: m, Owners: o, Workspaces: w, Guard: g, Queue: q, Orphans: revocation.NewOrphans(m, g, q)}

	e.minter = &minter{mount: m, queue: q}
	e.rights = &rights{mount: m, queue: q}
	e.expiry = &expiryWarner{mount: m, given: map[string]model.ExpiryStage{}}
	e.Rotations = &Rotations{mount: m, owners: o, minter: e.minter, rights: e.rights}
	e.Leases = &Leases{mount: m, queue: q, guard: g, minter: e.minter, rights: e.rights}
	e.Configs = &Configs{mount: m, owners: o, workspaces: w}
	e.Approvals = &Approvals{mount: m, owners: o, workspaces: w, queue: q, rotations: e.Rotations, configs: e.Configs, pollers: newPollers()}
	e.Configs.approvals = e.Approvals // an approval brings an admin token, and a write of config ends approvals
	e.Roles = &Roles{
		mount: m, owners: o, queue: q, minter: e.minter, rights: e.rights,
		rotations: e.Rotations, leases: e.Leases, approvals: e.Approvals,
	}
	e.Verifier = &Verifier{mount: m, owners: o, workspaces: w, rights: e.rights, retries: map[string]time.Time{}}
	e.Lookups = &Lookups{mount: m, owners: o}
	e.Revocations = &Revocations{mount: m, queue: q, lookups: e.Lookups}
	e.Statuses = &Statuses{mount: m, guard: g}
	e.Worker = &Worker{
		mount: m, owners: o, queue: q, guard: g,
		rotations: e.Rotations, approvals: e.Approvals, verifier: e.Verifier, expiry: e.expiry,
	}
	return e
}

// Close ends what runs in the background and closes the connections to Modal.
func (e *Engine) Close() {
	e.Approvals.pollers.close()
	e.Mount.Close()
}
