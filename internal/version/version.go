// SPDX-License-Identifier: MPL-2.0

// Package version knows which version of the secrets engine this binary is.
package version

// Version is the version of the engine, a semantic version with its leading v. Builds set it with
// the linker's -X; it is what Vault shows as the running version and what it compares with the
// -version that an operator registers.
var Version = "v0.0.0-dev"
