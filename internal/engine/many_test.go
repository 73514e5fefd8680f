// SPDX-License-Identifier: MPL-2.0

//go:build !race

package engine

// many is how many roles a mount with very many has.
const many = 10_000
