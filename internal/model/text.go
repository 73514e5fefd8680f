// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"strings"
)

// MaxNamedRoles is how many roles or tokens one warning names, and how many roles get a warning of their own.
const MaxNamedRoles = 10

// ListNames joins names to a text that is short enough to read.
func ListNames(names []string) string {
	if more := len(names) - MaxNamedRoles; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:MaxNamedRoles], ", "), more)
	}
	return strings.Join(names, ", ")
}
