# Every target has its help behind "##" on its own line; `make` prints them.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# For tests: more flags of go test, as in `make test GOTESTFLAGS='-v -run Clear'`.
GOTESTFLAGS ?=
# For fuzz: how long each target runs, as go test -fuzztime takes it: 5s, 10m, 1000x.
FUZZTIME ?= 5s

# For simulate: how many seeds, and the first of them. 0 runs until it is stopped, and prints how far
# it has come every 100,000 seeds; a seed that fails ends it, and is printed as a short script. Name
# one simulation then, as in `nice make simulate SEEDS=0 SIMULATIONS=./broker/core`: go test shows the
# output of several only at the end. A million seeds take 20 minutes (groups) and 40 (core) of a core.
SEEDS       ?= 20000
SEED        ?= 0
SIMULATIONS ?= ./groups ./broker/core

# For demo: flags of lcapd demo.
DEMO ?=

.PHONY: help build demo test bench fuzz simulate fmt vet staticcheck check all

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

build: ## build the commands into bin/
	go build -o bin/ ./cmd/...

demo: build ## see lcapd work, until ^C (DEMO='--rate 5000')
	bin/lcapd demo $(DEMO)

test: ## run all tests with the race detector (GOTESTFLAGS=...)
	go test -race -count 1 -timeout 20m $(GOTESTFLAGS) ./...
	cd examples && go vet ./... && go test -race -timeout 10m ./...

bench: ## run all benchmarks
	go test -run '^$$' -bench . ./...

fuzz: ## run every fuzz target for FUZZTIME (5s)
	@.ci/fuzz $(FUZZTIME)

simulate: ## run the simulations with more seeds (SEEDS=20000 SEED=0; SEEDS=0: until stopped)
	go test -v -timeout 0 -run 'TestSimulation$$' $(SIMULATIONS) -args -seeds $(SEEDS) -seed $(SEED)

fmt: ## fail if gofmt would change a file
	@files="$$(find . -name '*.go' -not -path '*/testdata/*' -exec gofmt -l {} +)"; \
	if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi

vet: ## run go vet
	go vet ./...

staticcheck: ## run staticcheck
	go tool staticcheck ./...

check: fmt vet staticcheck ## run all static checks, the house rules aside: they are tests

all: check test ## run all static checks and all tests
