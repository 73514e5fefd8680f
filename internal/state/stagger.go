// SPDX-License-Identifier: MPL-2.0

package state

// PollTurn is the followers' place among what a tick begins, behind the ledger's.
const PollTurn = 1 << 21

// QueueTurn is the place of the revocation queue among the jobs of a tick, far behind any rotation's.
const QueueTurn = 1 << 20

// LockTurn is how far whoever waited for a lock falls behind the one who had it, farther than any two jobs
// are apart.
const LockTurn = 1 << 14
