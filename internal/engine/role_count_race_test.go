// SPDX-License-Identifier: MPL-2.0

//go:build race

package engine

// many is the number of roles of a very large mount. It is smaller here, because the race detector makes each
// role take ten times as long.
const many = 1_000
