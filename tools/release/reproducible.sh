#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Builds this commit for this machine in two folders, once with `make build` and once like a release, and fails if
# the hashes differ. The test also detects a path in the binary, because a path makes the compiler's cache miss.
# COLD=1 gives the second build a separate cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
plugin=vault-plugin-secrets-modal
for folder in "$work/one" "$work/another/one"; do
	git clone -q --no-tags . "$folder"
	# Both builds get the same version, whatever tags exist.
	git -C "$folder" -c user.name=- -c user.email=- tag v0.0.1
done

make -s -C "$work/one" build
if [ -n "${COLD:-}" ]; then export GOCACHE=$work/cache; fi
(cd "$work/another/one" && go tool -modfile=tools/release/go.mod goreleaser build \
	--single-target --clean --skip=before --output "$plugin" 2>&1) >"$work/log" || { cat "$work/log" && exit 1; }

one=$(sha256sum <"$work/one/bin/$plugin") another=$(sha256sum <"$work/another/one/$plugin")
printf '%s  make build\n%s  release\n' "${one%% *}" "${another%% *}"
[ "$one" = "$another" ] || { echo "reproducible: one commit has two hashes" && exit 1; }
