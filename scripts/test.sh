#!/usr/bin/env bash
# Every check and every test. Two lanes run side by side: the end-to-end tests mostly wait, the others mostly compute.
# All steps run even when one fails. The end is a table of the steps with their seconds, and the closing lines of
# go test. The seconds of processors tell a slow step from a busy machine.
#
# What the machine lacks is left out, and the output says so in capitals: the race detector needs gcc, Apache Kafka
# needs java 17 and mvn, govulncheck needs its database (scripts/lint.sh). REQUIRE_RACE=1 and REQUIRE_KAFKA=1 make that
# an error.
#
# The race detector makes code some ten times slower. With -short, tests leave out there what computes for long in one
# goroutine; the unit step runs all of it.
#
#   FUZZTIME     how long each fuzz target runs (default 3s)
#   KAFKA_PORT   the first of six ports in a row where Apache Kafka listens (default: free ones)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
started=$(date +%s)
# Test binaries run in temporary folders, and the engine is looked for beside the program only.
export COUNTERSIGN_ENGINE_LIB=${COUNTERSIGN_ENGINE_LIB:-$(scripts/fetch-engine.sh)}

# step NAME COMMAND... runs a command and shows what it printed when it has ended. Lanes take turns at showing.
step() {
	local name=$1 code=0 verdict=ok TIMEFORMAT='%R %U %S'
	shift
	{ time "$@" >"$logs/$name" 2>&1; } 2>"$logs/.time-$name" || code=$?
	sed -i 's/\x1b\[[0-9;]*m//g' "$logs/$name" # Maven's colours
	[ "$code" = 0 ] || verdict=FAILED
	[ "$code" != 77 ] || verdict=left-out
	(
		flock 9
		printf '\n== %s\n' "$name"
		cat "$logs/$name"
		echo "$name $(cat "$logs/.time-$name") $verdict" >>"$logs/.table"
	) 9>"$logs/.lock"
}

# missing NAME WHY ends a step that the machine can't do: 77, or a failure if it is required.
missing() {
	echo "$1 IS LEFT OUT: $2" >&2
	[ -n "$3" ] && return 1
	return 77
}

others() { go list ./... | grep -v '^countersign/cmd/'; }

unit() { go test -timeout 30m $(others); }

end_to_end() { go test -timeout 30m -parallel 4 ./cmd/...; }

race() {
	command -v "$(go env CC)" >/dev/null ||
		{ missing "THE RACE DETECTOR" "it needs $(go env CC) (Debian: apt-get install gcc libc6-dev)" "${REQUIRE_RACE:-}"; return; }
	CGO_ENABLED=1 go test -race -short -timeout 30m $(others)
}

# fuzz lets each target look for new inputs for a while. What it finds stays in the package's testdata/fuzz.
fuzz() {
	local targets package target out
	targets=$(go test -list '^Fuzz' $(others) | awk '/^Fuzz/ { t[n++] = $1 } /^ok/ { for (i = 0; i < n; i++) print $2, t[i]; n = 0 }') || return 1
	[ -n "$targets" ] || { echo "there is no fuzz target"; return 1; }
	while read -r package target; do
		if out=$(go test -timeout 30m -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-3s}" "$package" 2>&1); then
			echo "$package $target: $(grep -o 'execs: [0-9]*' <<<"$out" | tail -n 1)"
		elif grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input' <<<"$out"; then
			echo "$package $target: its time was over while an input was tried, which go test calls a failure"
		else
			echo "$out"
			return 1
		fi
	done <<<"$targets"
}

generic() { # without the fast paths
	export COUNTERSIGN_CPU=generic
	go test -timeout 30m -count=1 -short ./pipeline/verify ./pipeline/signature/... &&
		go test -timeout 30m -count=1 -run 'MixedPairs|SingleSign' ./cmd/countersign
}

# on_kafka are the end-to-end tests whose outcome depends on the broker: what a caller is told while brokers and processes hang and
# die; groups whose members come and go; what one process says and another one confirms; crashes, after which the group of the
# process that is gone must time out; the order of two uploads in a shard; pairs that are read again from the log. They run shorter
# there than on the embedded log (function times of cmd/countersign/harness_test.go). All other end-to-end tests are about the API,
# certificates, ClickHouse, signals and settings: they run on the embedded log alone. So do those of pipeline/log/embedded.
on_kafka=(
	TestBrokersAndProcessesHangAndDie
	TestMembersOfTheGroupsComeAndGo
	TestSignedHereIsFoundThere TestAcceptedHereIsKnownThere
	TestKilledAtRandomMoments TestSingleSigningsAreSeenAtOnceAndSurvive
	TestTwoUploadsOfTheSameHashesAtOnce TestMixedPairsAreCountedAndListedExactly
)

kafka() ( # the client of the log, and those tests, on three brokers of Apache Kafka
	command -v java >/dev/null && command -v mvn >/dev/null ||
		{ missing "APACHE KAFKA" "its tests need java 17 and mvn (Debian: apt-get install openjdk-17-jre-headless maven)" "${REQUIRE_KAFKA:-}"; exit; }
	scripts/kafka.sh fetch || exit
	port=${KAFKA_PORT:-}
	while [ -z "$port" ]; do
		port=$((20000 + RANDOM % 10000))
		if busy "$port"; then port=; fi
	done
	pattern="^($(IFS='|'; echo "${on_kafka[*]}"))\$"
	[ "$(go test -list "$pattern" ./cmd/countersign | grep -c ^Test)" = ${#on_kafka[@]} ] || { echo "a test of on_kafka doesn't exist"; exit 1; }
	KAFKA_CLUSTER=$(mktemp -d)
	trap 'scripts/kafka.sh stop "$KAFKA_CLUSTER" >/dev/null 2>&1; rm -rf "$KAFKA_CLUSTER"' EXIT
	trap 'exit 130' INT TERM
	KAFKA_BROKERS=$(scripts/kafka.sh start "$KAFKA_CLUSTER" "$port" 3) || exit
	export KAFKA_BROKERS KAFKA_CLUSTER
	go test -timeout 30m -count=1 -parallel 4 ./pipeline/log && go test -timeout 30m -count=1 -parallel 4 -run "$pattern" ./cmd/countersign
	code=$?
	echo "the brokers that run now have used $(scripts/kafka.sh seconds "$KAFKA_CLUSTER") s of processors, which the table leaves out"
	exit $code
)

# busy PORT: one of six ports from there on is in use.
busy() {
	local port
	for port in $(seq "$1" $(($1 + 5))); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
	done
	return 1
}

(
	step end-to-end end_to_end
	step kafka kafka
	step readme scripts/readme.sh
) &
(
	step lint scripts/lint.sh
	step generate scripts/generate.sh --check
	step unit unit
	step race race
	step generic generic
	step fuzz fuzz
) &
wait

printf '\n== %s seconds in all\n' "$(($(date +%s) - started))"
awk '{ printf "%-12s %5d s, of processors %5d s  %s\n", $1, $2, $3 + $4, $5 }' "$logs/.table"
echo
cat "$logs"/{end-to-end,kafka,generic,race,unit} 2>/dev/null | grep -E '^(FAIL|ok)\b'
! grep -q FAILED "$logs/.table"
