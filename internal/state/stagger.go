// SPDX-License-Identifier: MPL-2.0

package state

// Turns are for the simulation only: a job with a higher turn starts later.

// PollTurn is the turn of the first poll of approvals in a tick. It is higher than QueueTurn, so approvals are polled
// after the revocation queue has started.
const PollTurn = 1 << 21

// QueueTurn is the turn of the revocation queue in a tick. It comes after all rotations.
const QueueTurn = 1 << 20

// LockTurn is how many turns a caller that waited for a lock falls behind the caller that had it. No two jobs of one
// kind are further apart.
const LockTurn = 1 << 14
