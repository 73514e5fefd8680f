#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Prints the licence of every library in the plugin, and fails when one is not among those given (as a|b|c).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
allowed=$1

# What the detector cannot name and a person has read.
read_by_hand() {
	case $1 in
	github.com/joshlf/go-acl) echo 'Apache-2.0' ;; # LICENSE-APACHE and LICENSE-MIT, to choose from
	*) echo Unknown ;;
	esac
}

# Its errors are about addresses of web pages, which are not asked for.
found=$(go tool -modfile=tools/licenses/go.mod go-licenses csv ./cmd/vault-plugin-secrets-modal 2>/dev/null | sort)
[ -n "$found" ] || { echo 'licenses: the detector found no library' && exit 1; }
bad=0
while IFS=, read -r library _ licence; do
	[ "$licence" != Unknown ] || licence=$(read_by_hand "$library")
	printf '%-14s %s\n' "$licence" "$library"
	[[ $licence =~ ^($allowed)$ ]] || bad=$((bad + 1))
done <<<"$found"
[ "$bad" = 0 ] || { echo "licenses: $bad libraries have a licence that is not among $allowed" && exit 1; }
