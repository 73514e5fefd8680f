// SPDX-License-Identifier: MPL-2.0

// Package request decodes the bodies of requests: texts, flags, durations, lists, environment roles and tokens. A parser
// says what to write instead of a value that it refuses. No message repeats a value, because any value may be a secret.
package request
