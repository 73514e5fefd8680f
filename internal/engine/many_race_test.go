// SPDX-License-Identifier: MPL-2.0

//go:build race

package engine

// many is how many roles a mount with very many has: the race detector makes each take ten times as long.
const many = 1_000
