// SPDX-License-Identifier: MPL-2.0

package state

import "time"

// BriefBudget bounds the work at Modal that must still be done after the caller has left or has run out of time.
const BriefBudget = 10 * time.Second

// ForceBudget bounds the calls to Modal that a delete with force makes before it answers.
const ForceBudget = 30 * time.Second
