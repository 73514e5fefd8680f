// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// FirstBackOff and MaxBackOff bound the waiting time between two attempts.
const (
	FirstBackOff = time.Minute
	MaxBackOff   = 6 * time.Hour
)

// backOff returns how long to wait after a number of attempts. The longest wait doubles with each attempt, up to six
// hours. Jitter takes off up to half of it.
func backOff(attempts int, jitter Jitter) time.Duration {
	wait := min(FirstBackOff<<min(attempts, 10), MaxBackOff)
	return wait/2 + jitter(wait/2)
}

// Tries counts failed attempts of one kind. When the next attempt is due is a field beside it, because a revocation must
// have that field in storage and a credential need not.
type Tries struct {
	// Attempts is how many attempts have failed.
	Attempts int `json:"attempts,omitempty"`
	// LastAttempt is when the last of them was made.
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	// LastError says why the last attempt failed.
	LastError string `json:"last_error,omitempty"`
}

// fail records a failed attempt, and returns the back-off before the next attempt.
func (t *Tries) fail(now time.Time, why string, jitter Jitter) (wait time.Duration) {
	t.Attempts, t.LastAttempt, t.LastError = t.Attempts+1, now, why
	return backOff(t.Attempts, jitter)
}

// succeed forgets the failed attempts.
func (t *Tries) succeed() { *t = Tries{} }

// Failing reports whether the last attempt failed.
func (t *Tries) Failing() bool { return t.Attempts > 0 }
