// SPDX-License-Identifier: MPL-2.0

//go:build !race

package modalsecrets

// thorough is whether there is time for all that the tests with many cases can try: the race detector
// makes each case ten times as long, and make unit tries all cases without it.
const thorough = true
