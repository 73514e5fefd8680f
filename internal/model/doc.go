// SPDX-License-Identifier: MPL-2.0

// Package model defines the objects that a mount stores: tokens, credentials, roles, config, revocations and
// approvals. It holds the rules about them: validation, due times, and which tokens may be deleted. It does no I/O.
// The clock and randomness are parameters.
package model
