// SPDX-License-Identifier: MPL-2.0

// Package model has the things that a mount stores (tokens, credentials, roles, config, revocations, approvals) and the
// rules about them: what is valid, what is due when, and what may be deleted. It does no I/O. The clock and randomness
// are parameters.
package model
