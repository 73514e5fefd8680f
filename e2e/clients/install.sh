#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Installs the Modal clients that the end-to-end tests run, below bin/clients: PyPI's modal in a virtual
# environment, npm's modal with a program that uses it, and what the example programs need. Takes the names of
# those wanted (python, javascript, example-python, example-typescript), and all without. Prints the path of each
# program; everything else goes to stderr.
#
# Needs python3 with its venv module, and node 20 with npm.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
into=$root/bin/clients

say() { printf 'clients: %s\n' "$*" >&2; }

# venv makes a virtual environment of what a file requires.
venv() {
	local wanted=$1 venv=$2
	if ! [ "$venv/installed" -nt "$wanted" ] || ! "$venv/bin/modal" --version >/dev/null 2>&1; then
		python3 -m venv --clear "$venv" >&2
		"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted" >&2
		touch "$venv/installed"
	fi
}

# modules installs what a package needs into a copy of it, as a program finds its modules beside itself, and the
# source tree is kept free of them. What the program is made of is copied anew each time.
modules() {
	local source=$1 copy=$2
	mkdir -p "$copy"
	if ! [ "$copy/installed" -nt "$source/package.json" ]; then
		cp "$source/package.json" "$copy"
		(cd "$copy" && npm install --loglevel=error --no-audit --no-fund --no-package-lock --ignore-scripts --omit=optional) >&2
		touch "$copy/installed"
	fi
	cp "$source"/*.* "$copy"
	say "$(basename "$copy"): $(cd "$copy" && npm ls --parseable --long modal | sed 's/.*://'), node $(node --version)"
}

python() {
	venv "$here/python/requirements.txt" "$into/python"
	say "python: $("$into/python/bin/modal" --version)"
	printf '%s\n' "$into/python/bin/modal"
}

javascript() {
	modules "$here/javascript" "$into/javascript"
	printf '%s\n' "$into/javascript/main.mjs"
}

# The interpreter that has what examples/python needs.
example-python() {
	venv "$root/examples/python/requirements.txt" "$into/example-python"
	say "example-python: $("$into/example-python/bin/modal" --version)"
	printf '%s\n' "$into/example-python/bin/python"
}

example-typescript() {
	modules "$root/examples/typescript" "$into/example-typescript"
	(cd "$into/example-typescript" && npm run --silent build) >&2
	printf '%s\n' "$into/example-typescript/dist/main.js"
}

if [ $# -eq 0 ]; then set -- python javascript example-python example-typescript; fi
for client; do
	case $client in
	python | javascript | example-python | example-typescript) "$client" ;;
	*) say "there is no client $client: name python, javascript, example-python or example-typescript" && exit 2 ;;
	esac
done
