// SPDX-License-Identifier: MPL-2.0

//go:build !race

package lifecycle

// raceDetector tells whether the race detector is on.
const raceDetector = false
