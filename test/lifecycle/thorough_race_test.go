// SPDX-License-Identifier: MPL-2.0

//go:build race

package lifecycle

// thorough says whether tests with many cases try all of them. The race detector makes each case ten times slower, so
// "make unit" tries all cases only without the race detector.
const thorough = false
