// SPDX-License-Identifier: MPL-2.0

// Package docs tests the pages of the manual: links, commands, messages and log lines.
package docs

import (
	"os"
	"testing"
)

// TestMain runs the tests in the root of the module, so that they name files as people do.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	m.Run()
}
