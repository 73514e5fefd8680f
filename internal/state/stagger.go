// SPDX-License-Identifier: MPL-2.0

package state

// PollTurn is the turn of the first poll of approvals in a tick. It comes after the revocation queue's.
const PollTurn = 1 << 21

// QueueTurn is the turn of the revocation queue in a tick. It comes after all rotations.
const QueueTurn = 1 << 20

// LockTurn is how many turns a caller that waited for a lock falls behind the caller that had it. No two jobs of one
// kind are further apart.
const LockTurn = 1 << 14
