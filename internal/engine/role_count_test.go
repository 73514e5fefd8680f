// SPDX-License-Identifier: MPL-2.0

//go:build !race

package engine

// many is the number of roles of a very large mount.
const many = 10_000
