// SPDX-License-Identifier: MPL-2.0

package state

import "time"

// BriefBudget bounds what is done at Modal on the way out, or whatever becomes of the caller.
const BriefBudget = 10 * time.Second

// ForceBudget bounds the calls to Modal of a delete with force before it answers.
const ForceBudget = 30 * time.Second
