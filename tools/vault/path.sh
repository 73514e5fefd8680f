#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Prints the path of the Vault to test with: $VAULT_BIN (may be an OpenBao), else `vault` on the PATH, else
# bin/vault, built from the module pinned beside this file. An argument such as 1.19 selects that version, built
# from the module in the folder of that name. All other output goes to stderr.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
module=$here${1:+/$1}
built=$(cd "$here/../.." && pwd)/bin/vault${1:+-$1}

say() { printf 'vault: %s\n' "$*" >&2; }

build() {
	if [ "$built" -nt "$module/go.mod" ] && [ "$built" -nt "$module/go.sum" ]; then
		say "using $built, which is up to date"
		return
	fi
	say "building Vault from the module pinned in ${module#"${here%/*/*}/"}; 5 to 20 minutes without a build cache"
	# The build is the same with and without a C compiler. -tags minimal leaves out builtin plugins that the tests
	# do not use.
	CGO_ENABLED=0 "$here/../progress.sh" build "$module" "$built" github.com/hashicorp/vault -tags minimal
	# go does not touch an executable that is up to date.
	touch "$built"
	say "built $built in ${SECONDS}s"
}

is_vault() {
	case $("$1" version 2>/dev/null) in "Vault v"* | "OpenBao v"*) ;; *) return 1 ;; esac
}

if [ $# -gt 0 ]; then
	build
	vault=$built
elif [ -n "${VAULT_BIN:-}" ]; then
	vault=$(command -v "$VAULT_BIN") && is_vault "$vault" ||
		{ say "VAULT_BIN=$VAULT_BIN is not a working Vault binary: change it or unset it" && exit 1; }
elif vault=$(command -v vault) && is_vault "$vault"; then
	:
else
	build
	vault=$built
fi
case $vault in /*) ;; *) vault=$PWD/$vault ;; esac
version=$("$vault" version)
say "${version%%,*} at $vault"
printf '%s\n' "$vault"
