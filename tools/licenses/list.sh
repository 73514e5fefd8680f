#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Prints the licence of every library in the plugin, for all systems of a release. Fails if a licence is not in the
# given list (a|b|c). Writes the licence texts that must accompany a binary into the given file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
allowed=$1 notices=$2
export LC_ALL=C CGO_ENABLED=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# go-licenses looks for the standard library where Go was at build time. -trimpath would hide that path.
go build -trimpath=false -modfile=tools/licenses/go.mod -o "$work/detector" github.com/google/go-licenses/v2
printf '{{range .}}{{printf "%%s\\t%%s\\t%%s\\t%%s\\n" .LicenseName .Name .Version .LicensePath}}{{end}}' >"$work/lines"
systems=$(sed -nE 's/^ +- ([a-z]+)_[a-z0-9]+$/\1/p' .goreleaser.yaml | sort -u)
for system in $systems; do
	# The other output is about web addresses, which this script does not need.
	GOOS=$system "$work/detector" report --template="$work/lines" ./cmd/vault-plugin-secrets-modal 2>"$work/said" ||
		{ cat "$work/said" >&2 && exit 1; }
done | grep -vF $'\tvault-plugin-secrets-modal\t' | sort -u -t $'\t' -k 2 -k 1,1 >"$work/found"

bad=0
while IFS=$'\t' read -r licence library _; do
	printf '%-14s %s\n' "$licence" "$library"
	[[ $licence =~ ^($allowed)$ ]] || bad=$((bad + 1))
done <"$work/found"
[ "$bad" = 0 ] || { echo "licenses: $bad libraries have a licence that is not in $allowed" && exit 1; }

mkdir -p "$(dirname "$notices")"
{
	printf '%s\n' "The libraries in vault-plugin-secrets-modal, with their licences. On some systems the binary contains fewer of them." \
		"The source of each is the Go module of that name and version: go mod download fetches it."
	printf '\n==== The Go standard library, %s\n\n' "$(go env GOVERSION)"
	cat "$(go env GOROOT)/LICENSE"
	cut -f 2- "$work/found" | awk -F '\t' '!seen[$3]++' | while IFS=$'\t' read -r library version file; do
		printf '\n==== %s %s\n\n' "$library" "$version"
		cat "$file"
		for notice in "${file%/*}"/NOTICE{,.txt,.md}; do
			if [ -f "$notice" ]; then echo && cat "$notice"; fi
		done
	done
} >"$notices"
