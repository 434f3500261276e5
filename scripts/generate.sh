#!/usr/bin/env bash
# Makes everything again that is generated and committed: the protobuf code, and what go:generate comments name, the assembly and the
# prime fields. All generators are Go programs that tools/go.sum or this repository pins.
#
#   scripts/generate.sh           makes it
#   scripts/generate.sh --check   makes it, and fails if a file changed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=$(scripts/tools.sh)

state() { git ls-files -z -co --exclude-standard | xargs -0 sha256sum 2>/dev/null | sort -k 2; }
[ "${1:-}" != --check ] || before=$(state)

# The generated code must be that of the library which the product links.
protobuf() { go list -m -f '{{.Version}}' google.golang.org/protobuf; }
if [ "$(protobuf)" != "$(cd tools && protobuf)" ]; then
	echo "generate: go.mod has protobuf $(protobuf) and tools/go.mod $(cd tools && protobuf); make them the same" >&2
	exit 1
fi
"$tools/protogo" "$tools/protoc-gen-go" pipeline/record/recordpb/record.proto
go generate ./...

[ "${1:-}" = --check ] || exit 0
if ! changed=$(diff <(echo "$before") <(state)); then
	echo "generate: these were not what make generate makes; they are now, commit them:" >&2
	awk '/^>/ { print "\t" $3 }' <<<"$changed" >&2
	exit 1
fi
