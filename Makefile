# What the project can do, one target each. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
GO ?= go

.PHONY: help build engine demo test lint generate bench bench-large bench-compare clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: engine ## bin/countersign and bin/countersign-bench, with the engine that they find by themselves
	$(GO) build -o bin/ ./cmd/...

engine: ## fetch the embedded ClickHouse into .cache
	@scripts/fetch-engine.sh >/dev/null

demo: build ## watch the main job run on real files
	$(GO) run ./scripts/demo

test: engine ## every test; on the embedded log, and on Apache Kafka where Java and Maven are there
	scripts/test.sh

lint: ## format and vet, as the tests do
	scripts/lint.sh

generate: ## the protobuf code; needs protoc
	scripts/generate.sh

bench: build ## measure, beside OpenSSL and Go on the same cores
	bin/countersign-bench

bench-large: build ## the same with 100 million hashes stored; takes some five minutes and 50 GB
	bin/countersign-bench --run large --limit 3h

bench-compare: build ## make bench-compare BASE=commit: what changed since
	scripts/bench-compare.sh $(BASE)

clean: ## remove what was built; the fetched engine and jars stay in .cache
	rm -rf bin data .cache/bench .cache/test
