// SPDX-License-Identifier: MPL-2.0

package main

// garbageRoom is how many bytes of garbage may gather before a collection, besides as many as are in use.
const garbageRoom = 16 << 20

// roomForGarbage makes the collector run less often for as long as the result is kept, unless an operator
// has set it up with GOGC or GOMEMLIMIT. A plugin uses 3 MiB, so Go would collect every few hundred
// reads. It counts these bytes as in use; nobody touches them, so they take no memory. A larger
// percentage would multiply the memory of many roles, and a limit would have the collector run without
// end once they reach it.
func roomForGarbage(getenv func(string) string) []byte {
	if getenv("GOGC") != "" || getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, garbageRoom)
}
