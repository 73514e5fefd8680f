#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Runs a command that can be silent for minutes, and says on stderr how far the command is.
#
#   progress.sh build FOLDER OUTPUT PACKAGE [FLAGS…]   go build in the folder; counts every 10 seconds
#   progress.sh tests NAME COMMAND…                    tests; counts every minute. PACKAGES names all
#   progress.sh download NAME FOLDER MB COMMAND…       a command that downloads into the folder, every 10 seconds
#
# On a terminal, build and download count in place. The exit code is the command's.
set -euo pipefail

say() { printf '%s: %s\n' "$name" "$*" >&2; }

# clock prints the line "tick" every $1 seconds until it is ended. It sleeps a second at a time, so that no long sleep
# outlives it. SECOND shortens the second for tests.
clock() {
	local left
	while :; do
		for ((left = $1; left > 0; left--)); do sleep "${SECOND:-1}" >/dev/null 2>&1; done
		echo tick
	done
}

# ticking runs a command, with its errors and the clock's lines in its output.
ticking() (
	clock "${EVERY:-$1}" &
	clock=$!
	trap 'kill "$clock" 2>/dev/null || true; wait "$clock" || true' EXIT
	shift
	"$@" 2>&1
)

# status shows a passing line: in place on a terminal, else as a line of its own if the clock asks for it.
status() {
	if [ -t 2 ]; then
		printf '\r%s: %s\033[K' "$name" "$1" >&2
	elif [ "$2" = tick ]; then
		say "$1"
	fi
}

# settle removes the passing line from a terminal.
settle() { if [ -t 2 ]; then printf '\r\033[K' >&2; fi; }

# compile first lists the packages that go has to compile, so that their number is known. go also prints each
# module that it downloads.
compile() {
	go list -deps -f '{{if .Stale}}stale {{.ImportPath}}{{end}}' ${flags[@]+"${flags[@]}"} "$package"
	go build -v -o "$output" ${flags[@]+"${flags[@]}"} "$package"
}

count_packages() {
	local modules=0 packages=0 total=0 line
	while IFS= read -r line; do
		case $line in
		tick) ;;
		"stale "*) total=$((total + 1)) && continue ;;
		"go: downloading "*) modules=$((modules + 1)) ;;
		"" | *[[:space:]]*) settle && printf '%s\n' "$line" >&2 && continue ;;
		*) packages=$((packages + 1)) ;;
		esac
		if ((total == 0)); then
			status "$modules modules downloaded, ${SECONDS}s" "$line"
		else
			status "$packages of $((total > packages ? total : packages)) packages compiled, ${SECONDS}s" "$line"
		fi
	done
	settle
}

count_tests() {
	local packages=0 tests=0 line
	while IFS= read -r line; do
		case $line in
		tick)
			say "$((SECONDS / 60))m$((SECONDS % 60))s: $packages${total:+ of $total} packages done$( ((tests == 0)) || printf ', %d tests' "$tests")"
			continue
			;;
		"ok "* | "ok	"* | "FAIL	"* | "?   "*) packages=$((packages + 1)) ;;
		"--- "*) tests=$((tests + 1)) ;;
		esac
		printf '%s\n' "$line"
	done
}

count_megabytes() {
	local line
	while IFS= read -r line; do
		if [ "$line" = tick ]; then
			status "$(($(du -sk "$folder" | cut -f 1) / 1024)) of about $megabytes MB, ${SECONDS}s" "$line"
		else
			settle && printf '%s\n' "$line" >&2
		fi
	done
	settle
}

how=$1
shift
case $how in
build)
	cd "$1"
	output=$2 package=$3
	flags=("${@:4}")
	name="build ${package#./}"
	say "compiling what is not compiled yet"
	ticking "$([ -t 2 ] && echo 1 || echo 10)" compile | count_packages
	;;
tests)
	name=$1
	shift
	say "running $*"
	total=${PACKAGES:+$(go list "$PACKAGES" | wc -l | tr -d ' ')}
	ticking 60 "$@" | count_tests
	;;
download)
	name=$1 folder=$2 megabytes=$3
	shift 3
	ticking "$([ -t 2 ] && echo 1 || echo 10)" "$@" | count_megabytes
	;;
*)
	printf 'progress.sh: unknown command %s\n' "$how" >&2
	exit 2
	;;
esac
