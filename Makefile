# Every target has its help behind "##" on its own line; `make` prints them.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# For tests: more flags of go test, as in `make test GOTESTFLAGS='-v -run Clear'`.
GOTESTFLAGS ?=
# For fuzz: how long each target runs, as go test -fuzztime takes it: 5s, 10m, 1000x.
FUZZTIME ?= 5s

# For simulate: how many seeds, and the first of them.
SEEDS ?= 20000
SEED  ?= 0

.PHONY: help build test bench fuzz simulate fmt vet staticcheck check all

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

build: ## build the commands into bin/
	go build -o bin/ ./cmd/...

test: ## run all tests with the race detector (GOTESTFLAGS=...)
	go test -race -timeout 20m $(GOTESTFLAGS) ./...

bench: ## run all benchmarks
	go test -run '^$$' -bench . ./...

fuzz: ## run every fuzz target for FUZZTIME (5s)
	@.ci/fuzz $(FUZZTIME)

simulate: ## run the simulations with more seeds (SEEDS=20000 SEED=0)
	go test -timeout 0 -run 'TestSimulation$$' ./groups ./broker/core -args -seeds $(SEEDS) -seed $(SEED)

fmt: ## fail if gofmt would change a file
	@files="$$(find . -name '*.go' -not -path '*/testdata/*' -exec gofmt -l {} +)"; \
	if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi

vet: ## run go vet
	go vet ./...

staticcheck: ## run staticcheck
	go tool staticcheck ./...

check: fmt vet staticcheck ## run all static checks, the house rules aside: they are tests

all: check test ## run all static checks and all tests
