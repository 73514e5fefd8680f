// SPDX-License-Identifier: MPL-2.0

// Package state holds the state of one mount: its tables in storage, locks by name, due times, token owners, known
// workspaces, connections to Modal, log and events.
package state
