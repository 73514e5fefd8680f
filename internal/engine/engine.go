// SPDX-License-Identifier: MPL-2.0

// Package engine runs the operations of a mount. It creates, rotates, restores and deletes the Modal tokens of roles, runs
// leases and browser approvals, and writes config. Package revocation ends each token that a role no longer returns.
// Requests and answers are typed values. This package knows neither Vault's requests nor Modal's wire format.
//
// These invariants hold after a crash at any write. Each names the code that keeps it:
//   - A token becomes current only after Modal accepted it as the expected identity, or after an operator wrote
//     verify=false (mint.go: grantAndVerify; rotate_static.go: acceptSuccessor; role_static.go: acceptFirst; undo.go:
//     verifyUndo; approval_finish.go: use).
//   - A role that had a working token still has a working token. The write of the credential is the rotation
//     (rotation_replace.go: replace).
//   - Every service user that this mount created owns a role's current token or has a revocation. A lease has a revocation too. The queue
//     has its name before Modal is called (mint.go: create).
//   - A token is called revoked only after Modal rejected it (revocation/proof.go: prove).
//   - With the admin token the engine deletes only service users that this mount created, unless an operator wrote
//     force=true (model/revocation.go: CanDelete). It deletes by ID, and by name only if Modal has not confirmed the ID
//     (revocation/service_user.go: deleteServiceUser). With a member token the engine deletes only that token, or an older
//     token of the same person (revocation/member_token.go: tokensThatMayDelete).
//   - A token that a person approved is in the revocation queue before Modal is asked about it (approval_advance.go:
//     receive).
//   - A stored secret is sent only to the server that accepted it (state/connections.go: ConnectTo). A read returns it
//     together with that server (model/config.go: ClientServerURL).
//   - The intent to delete a token, or to force its end, is in storage before Modal is called (revocation/process.go:
//     precheck, markDeletionStarted).
//   - Rotate, worker, update and delete of one role never overlap, and they decide under the role's lock
//     (state/locks.go: LockRole; revocation/process.go: Lock).
package engine

import (
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// Engine is the roles, tokens and revocation queue of one mount. Its parts share one Mount, and each does one kind of
// work.
type Engine struct {
	Mount       *state.Mount
	Owners      *state.Owners
	Workspaces  *state.Workspaces
	Guard       *revocation.Guard
	Revoker     *revocation.Revoker
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

// New returns an engine. It does no I/O and starts no goroutine.
func New(deps state.Deps) *Engine {
	m := state.NewMount(deps)
	w := state.NewWorkspaces(m)
	o := state.NewOwners(m, w)
	g := revocation.NewGuard(m)
	rv := revocation.NewRevoker(m, o, g)
	e := &Engine{Mount: m, Owners: o, Workspaces: w, Guard: g, Revoker: rv, Orphans: revocation.NewOrphans(m, g, rv)}

	e.minter = &minter{mount: m, revoker: rv}
	e.rights = &rights{mount: m, revoker: rv}
	e.expiry = &expiryWarner{mount: m, given: map[string]model.ExpiryStage{}}
	e.Rotations = &Rotations{mount: m, owners: o, minter: e.minter, rights: e.rights}
	e.Leases = &Leases{mount: m, revoker: rv, guard: g, minter: e.minter, rights: e.rights}
	e.Configs = &Configs{mount: m, owners: o, workspaces: w}
	e.Approvals = &Approvals{mount: m, owners: o, workspaces: w, revoker: rv, rotations: e.Rotations, configs: e.Configs, pollers: newPollers(m.Stagger)}
	e.Configs.approvals = e.Approvals // an approval writes config, and a deletion of config ends approvals
	e.Roles = &Roles{
		mount: m, owners: o, revoker: rv, minter: e.minter, rights: e.rights,
		rotations: e.Rotations, leases: e.Leases, approvals: e.Approvals,
	}
	e.Verifier = &Verifier{mount: m, owners: o, workspaces: w, rights: e.rights, retries: map[string]time.Time{}}
	e.Lookups = &Lookups{mount: m, owners: o}
	e.Revocations = &Revocations{mount: m, revoker: rv, lookups: e.Lookups}
	e.Statuses = &Statuses{mount: m, guard: g}
	e.Worker = &Worker{
		mount: m, owners: o, revoker: rv, guard: g,
		rotations: e.Rotations, approvals: e.Approvals, verifier: e.Verifier, expiry: e.expiry,
	}
	return e
}

// Close ends the goroutines and closes the connections to Modal.
func (e *Engine) Close() {
	e.Approvals.pollers.close()
	e.Mount.Close()
}
