// SPDX-License-Identifier: MPL-2.0

// Package version contains the version of this build of the secrets engine.
package version

// Version is the engine's semantic version with its leading v. Builds set it with the linker's -X option.
// Vault shows it as the running version and compares it with the -version that an operator registers.
var Version = "v0.0.0-dev"
