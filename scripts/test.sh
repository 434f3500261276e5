#!/usr/bin/env bash
# Every test: all packages on the embedded log, the README's commands, what verifies a second time without the fast paths, and what uses the log a second time on
# Apache Kafka, where Java and Maven are there. REQUIRE_KAFKA=1 makes their absence an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Test binaries run in temporary folders, and the engine is looked for beside the program only.
export COUNTERSIGN_ENGINE_LIB=${COUNTERSIGN_ENGINE_LIB:-$(scripts/fetch-engine.sh)}

say() { printf '\n== %s\n' "$*"; }

say "format and vet"
scripts/lint.sh

say "all packages, on the embedded log"
go test -timeout 20m ./...

say "the README's commands, as written"
scripts/readme.sh

say "without the fast paths"
COUNTERSIGN_CPU=generic go test -timeout 10m -count=1 ./pipeline/verify ./pipeline/signature/...
COUNTERSIGN_CPU=generic go test -timeout 10m -count=1 -run 'MixedPairs|SingleSign' ./cmd/countersign

if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then
	echo "APACHE KAFKA IS LEFT OUT: its tests need java 17 and mvn (Debian: apt-get install openjdk-17-jre-headless maven)" >&2
	[ -z "${REQUIRE_KAFKA:-}" ] || exit 1
	exit 0
fi

say "what uses the log, on Apache Kafka"
scripts/kafka.sh fetch
dir=$(mktemp -d)
stop() {
	scripts/kafka.sh stop "$dir" >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap stop EXIT
port=${KAFKA_PORT:-19092}
scripts/kafka.sh start "$dir" "$port" >/dev/null
KAFKA_BROKERS=127.0.0.1:$port go test -timeout 20m -count=1 -p 1 ./pipeline/log ./cmd/countersign
