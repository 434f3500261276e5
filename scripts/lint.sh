#!/usr/bin/env bash
# What can be said about the code without running it: gofmt, go vet, golangci-lint (.golangci.yml says what it looks for and why),
# and govulncheck. Prints what is wrong and fails.
#
# govulncheck needs the database of known vulnerabilities, Go's own or what GOVULNDB names. Where that can't be reached
# govulncheck is left out, and this script says so. REQUIRE_GOVULNCHECK=1 makes that an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=$(scripts/tools.sh)

failed=0
wrong() {
	echo "lint: $*" >&2
	failed=1
}

unformatted=$(git ls-files -z -co --exclude-standard '*.go' | xargs -0 gofmt -l)
[ -z "$unformatted" ] || wrong "run gofmt -w on:" $unformatted

go vet ./... || wrong "go vet found the above"
(cd tools && go vet ./...) || wrong "go vet found the above in tools"
(cd tools && go mod tidy -diff) || wrong "run go mod tidy in tools"
go mod tidy -diff || wrong "run go mod tidy"

"$tools/golangci-lint" run --allow-parallel-runners ./... || wrong "golangci-lint found the above"
(cd tools && "$tools/golangci-lint" run --allow-parallel-runners ./...) || wrong "golangci-lint found the above in tools"

code=0
found=$("$tools/govulncheck" ./... 2>&1) || code=$?
if [ "$code" = 0 ]; then
	echo "govulncheck: no known vulnerability is reached"
elif [[ $found == *"fetching vulnerabilities"* && $found != *"Vulnerability #"* ]]; then
	echo "GOVULNCHECK IS LEFT OUT: the database of vulnerabilities (GOVULNDB) can't be reached from here. Run make lint where it can, or name a copy with GOVULNDB." >&2
	[ -z "${REQUIRE_GOVULNCHECK:-}" ] || failed=1
else
	echo "$found"
	wrong "govulncheck found the above"
fi
exit "$failed"
