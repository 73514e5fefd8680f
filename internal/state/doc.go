// SPDX-License-Identifier: MPL-2.0

// Package state holds what one mount remembers: its tables in storage, locks by name, due times, owners of tokens,
// known workspaces, connections to Modal, log and events.
package state
