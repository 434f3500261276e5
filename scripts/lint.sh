#!/usr/bin/env bash
# Format and vet. Prints what is wrong and fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

unformatted=$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	echo "lint: run gofmt -w on: $unformatted" >&2
	exit 1
fi
go vet ./...
