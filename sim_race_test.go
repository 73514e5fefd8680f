// SPDX-License-Identifier: MPL-2.0

//go:build race

package modalsecrets

// thorough is whether there is time for many lives: the race detector makes one ten times as long.
const thorough = false
