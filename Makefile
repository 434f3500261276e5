# What the project can do, one target each. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
GO ?= go

.PHONY: help build engine image demo test unit lint generate fuzz bench bench-large bench-compare clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: engine ## bin/countersign and bin/countersign-bench, with the engine that they find by themselves
	$(GO) build -o bin/ ./cmd/...

unit: ## the quick tests, of all packages but the end-to-end ones; make unit PKG=./sink/... for some
	$(GO) test $(or $(PKG),$$($(GO) list ./... | grep -v '^countersign/cmd/'))

lint: ## gofmt, go vet, golangci-lint, govulncheck
	scripts/lint.sh

generate: ## everything that is generated, with pinned generators
	scripts/generate.sh

test: engine ## what CI runs: lint, every test with and without the race detector, fuzzing, the README, Apache Kafka
	scripts/test.sh

fuzz: ## one fuzz target for as long as you like: make fuzz PKG=./pipeline/record TARGET=FuzzDecode
	$(GO) test -run '^$$' -fuzz '^$(TARGET)$$' $(PKG)

demo: build ## watch the main job run on real files
	$(GO) run ./scripts/demo

bench: build ## measure, beside OpenSSL and Go on the same cores
	bin/countersign-bench

bench-large: build ## the same with 100 million hashes stored; takes some five minutes and 50 GB
	bin/countersign-bench --run large --limit 3h

bench-compare: build ## make bench-compare BASE=commit: what changed since
	scripts/bench-compare.sh $(BASE)

image: build ## the container image, which is told its version by the program built beside it
	docker build $$(bin/countersign version | sed -nE 's/^(version|commit|date): (.*)/--build-arg \U\1\E=\2/p') -t countersign .

engine: ## fetch the embedded ClickHouse into .cache
	@scripts/fetch-engine.sh >/dev/null

clean: ## remove what was built; the fetched engine, jars and tools stay in .cache
	rm -rf bin data .cache/bench .cache/test
