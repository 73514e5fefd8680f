// SPDX-License-Identifier: MPL-2.0

// Package mounttest is the harness of the tests: a mount of the engine on storage that can fail, with an emulated Modal
// and a clock that the test moves.
package mounttest
