// SPDX-License-Identifier: MPL-2.0

package main

// garbageRoom is how many bytes of garbage may gather before a collection, in addition to the bytes in use.
const garbageRoom = 16 << 20

// roomForGarbage makes the garbage collector run less often, as long as the caller keeps the result. GOGC or
// GOMEMLIMIT of an operator turns it off. A plugin uses 3 MiB, so Go would collect every few hundred reads. Go
// counts the bytes of the result as in use. No code touches them, so they take no memory. A larger GOGC would
// multiply the memory of many roles. A memory limit would make the collector run without end once the plugin
// reaches it.
func roomForGarbage(getenv func(string) string) []byte {
	if getenv("GOGC") != "" || getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, garbageRoom)
}
