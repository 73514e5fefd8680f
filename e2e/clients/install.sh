#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Installs the Modal clients of the end-to-end tests below bin/clients: PyPI's modal in a virtual environment, npm's
# modal with a program that uses it, and the dependencies of the example programs. The arguments name the clients
# to install (python, javascript, example-python, example-typescript). Without arguments the script installs all.
# It prints the path of each program and sends other output to stderr.
#
# The script needs python3 with its venv module, and node 20 with npm.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
into=$root/bin/clients

say() { printf 'clients: %s\n' "$*" >&2; }

# venv makes a virtual environment with the packages of a requirements file.
venv() {
	local wanted=$1 venv=$2
	if ! [ "$venv/installed" -nt "$wanted" ] || ! "$venv/bin/modal" --version >/dev/null 2>&1; then
		python3 -m venv --clear "$venv" >&2
		"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted" >&2
		touch "$venv/installed"
	fi
}

# modules installs a package's dependencies into a copy of the package: a program looks for its modules beside
# itself, and the source tree must stay free of modules. The program's own files are copied again each time.
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

# example-python prints the path of an interpreter with the dependencies of examples/python.
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
	*) say "unknown client $client. Choose python, javascript, example-python or example-typescript" && exit 2 ;;
	esac
done
