#!/usr/bin/env bash
# Makes record.pb.go from record.proto, with the generator that go.mod pins.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v protoc >/dev/null || { echo "generate: protoc is missing (Debian: apt-get install protobuf-compiler)" >&2; exit 1; }
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
GOBIN=$tools go install google.golang.org/protobuf/cmd/protoc-gen-go
PATH=$tools:$PATH protoc --go_out=. --go_opt=module=countersign pipeline/record/recordpb/record.proto
