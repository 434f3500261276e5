#!/usr/bin/env bash
# What changed in speed since a commit: scripts/bench-compare.sh BASE [HEAD [FLAG...]]
#
# Builds both commits (HEAD: the one checked out) in worktrees under .cache/compare. Runs the micro-benchmarks that both have, in
# turns, and hands them to benchstat; then measures both programs end to end, in turns, with `countersign-bench --against`. Each FLAG goes
# to that command, such as --rounds=9.
#
#   COUNT       times that each micro-benchmark runs (default 6)
#   BENCHTIME   how long each time (default 200ms)
#   BENCH       which of them, a regular expression (default all)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
benchstat=$("$root/scripts/tools.sh")/benchstat
dir=$root/.cache/compare
go=${GO:-go}
count=${COUNT:-6}
benchtime=${BENCHTIME:-200ms}
bench=${BENCH:-.}

die() { echo "bench-compare: $*" >&2; exit 1; }
say() { echo "bench-compare: $*" >&2; }

[ $# -ge 1 ] || die "which commit to compare with? make bench-compare BASE=commit"
commit() { git -C "$root" rev-parse --verify --quiet "$1^{commit}" || die "$1 is no commit of this repository"; }
base=$(commit "$1")
head=$(commit "${2:-HEAD}")
shift $(($# < 2 ? 1 : 2))

# One at a time: the worktrees have fixed places, which keeps the build cache useful.
mkdir -p "$dir"
exec 9>"$dir/lock"
flock -n 9 || die "another comparison is running; wait for its end"
cleanup() {
	rm -f "$dir"/*.test
	for side in base head; do
		git -C "$root" worktree remove --force "$dir/$side" 2>/dev/null || true
	done
}
trap cleanup EXIT
cleanup

build() { # SIDE COMMIT
	say "building $1, $(git -C "$root" log -1 --format='%h %s' "$2")"
	git -C "$root" worktree add --quiet --force --detach "$dir/$1" "$2"
	(cd "$dir/$1" && "$go" build -buildvcs=false -o "$dir/countersign-$1" ./cmd/countersign) || die "$1 does not build"
}
build base "$base"
build head "$head"
(cd "$dir/head" && "$go" build -buildvcs=false -o "$dir/countersign-bench" ./cmd/countersign-bench) || die "the load generator does not build"

packages() { # SIDE: folders with benchmarks
	cd "$dir/$1" && grep -rlE --include='*_test.go' '^func Benchmark' . | xargs -r -n 1 dirname | sort -u
}

rm -f "$dir"/*.test "$dir"/base.txt "$dir"/head.txt
touch "$dir/base.txt" "$dir/head.txt"
both=$(comm -12 <(packages base) <(packages head))
for package in $both; do
	for side in base head; do
		(cd "$dir/$side" && "$go" test -c -o "$dir/$side-${package//\//_}.test" "$package") || die "the tests of $package in $side do not build"
	done
done
failed=' '
for ((i = 1; i <= count; i++)); do
	say "micro-benchmarks, $i of $count"
	sides='base head'
	[ $((i % 2)) -eq 0 ] && sides='head base'
	for package in $both; do
		for side in $sides; do
			[[ $failed != *" $package "* ]] || continue
			(cd "$dir/$side/$package" &&
				timeout 180 "$dir/$side-${package//\//_}.test" -test.run '^$' -test.bench "$bench" -test.benchtime "$benchtime" -test.benchmem) \
				>>"$dir/$side.txt" && continue
			[ "$side" = base ] || die "the benchmarks of $package failed, or took longer than three minutes; see $dir/$side.txt"
			say "the benchmarks of $package fail in the base, or take longer than three minutes: left out"
			failed+="$package "
		done
	done
done
if [ -n "$both" ] && [ "$count" -gt 0 ]; then
	"$benchstat" "base=$dir/base.txt" "head=$dir/head.txt"
fi

COUNTERSIGN_ENGINE_LIB=${COUNTERSIGN_ENGINE_LIB:-$("$root/scripts/fetch-engine.sh")}
export COUNTERSIGN_ENGINE_LIB
"$dir/countersign-bench" --binary "$dir/countersign-head" --against "$dir/countersign-base" --cache "$root/.cache/bench" \
	--note "base is $(git -C "$root" log -1 --format='%h, %s' "$base")" --note "head is $(git -C "$root" log -1 --format='%h, %s' "$head")" "$@"
