#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Installs the Modal clients that the end-to-end tests run, below bin/clients: PyPI's modal in a virtual
# environment, and npm's modal with a program that uses it. Takes the names of those wanted (python,
# javascript), and both without. Prints the path of each program; everything else goes to stderr.
#
# Needs python3 with its venv module, and node 20 with npm.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
into=$(cd "$here/../.." && pwd)/bin/clients

say() { printf 'clients: %s\n' "$*" >&2; }

python() {
	local wanted=$here/python/requirements.txt venv=$into/python
	if ! [ "$venv/installed" -nt "$wanted" ] || ! "$venv/bin/modal" --version >/dev/null 2>&1; then
		python3 -m venv --clear "$venv" >&2
		"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted" >&2
		touch "$venv/installed"
	fi
	say "python: $("$venv/bin/modal" --version)"
	printf '%s\n' "$venv/bin/modal"
}

# A copy, as a program finds its modules beside itself, and the source tree is kept free of them.
javascript() {
	local source=$here/javascript copy=$into/javascript
	mkdir -p "$copy"
	if ! [ "$copy/installed" -nt "$source/package.json" ]; then
		cp "$source/package.json" "$copy"
		(cd "$copy" && npm install --loglevel=error --no-audit --no-fund --no-package-lock --ignore-scripts --omit=optional) >&2
		touch "$copy/installed"
	fi
	cp "$source/main.mjs" "$copy"
	say "javascript: $(cd "$copy" && npm ls --parseable --long modal | sed 's/.*://'), node $(node --version)"
	printf '%s\n' "$copy/main.mjs"
}

if [ $# -eq 0 ]; then set -- python javascript; fi
for client; do
	case $client in
	python | javascript) "$client" ;;
	*) say "there is no client $client: name python or javascript" && exit 2 ;;
	esac
done
