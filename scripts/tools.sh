#!/usr/bin/env bash
# Builds the tools that tools/go.mod pins, once for each state of that module, and prints the folder that they are in.
#
#   COUNTERSIGN_CACHE   the cache to put them in (default: .cache beside this script's folder)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root/tools"
state=$(cat go.mod go.sum protogo/*.go <(go env GOVERSION GOOS GOARCH) | sha256sum | cut -c 1-16)
dir=${COUNTERSIGN_CACHE:-$root/.cache}/tools/$state
if [ ! -d "$dir" ]; then
	echo "tools: building golangci-lint and the others; that takes some minutes, once" >&2
	mkdir -p "$(dirname "$dir")"
	new=$(mktemp -d "$dir.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	go build -buildvcs=false -o "$new/" tool ./protogo
	mv -T "$new" "$dir" 2>/dev/null || [ -d "$dir" ] # somebody else may have been faster
fi
echo "$dir"
