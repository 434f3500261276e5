#!/usr/bin/env bash
# Runs the commands of README.md as they are written there: every ```sh block, in order, in one fresh shell, in a copy of the working tree. A
# block that is followed by an ```output block must print exactly those lines, where <hash>, <uuid>, <base64>, <number> and
# <any> stand for what differs from run to run. Blocks marked "sh no-test" are left out.
#
#   scripts/readme.sh [FILE]   FILE: another page than README.md, of the same tree
#
#   COUNTERSIGN_CACHE   the cache with the engine (default: .cache of this tree), so that the copy fetches nothing
#   README_PORT         the service's port; the next one is for admin (default: two free ones)
#   README_TIMEOUT      seconds for everything (default 900)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
page=${1:-README.md}
cd "$root"
work=$(mktemp -d)
runner=
clean_up() {
	if [ -n "$runner" ] && kill -0 "$runner" 2>/dev/null; then
		kill -- "-$runner" 2>/dev/null || true # its process group: what the page started
		wait "$runner" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# The copy holds what git knows or would add: no build products, no data of a service.
mkdir "$work/tree" "$work/blocks"
git ls-files -z -co --exclude-standard | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
	tar -cf - --null -T - | tar -xf - -C "$work/tree"

# NNN.sh is a block, NNN.line its first line in the page, NNN.want what it must print, if the page shows that.
awk -v dir="$work/blocks" '
	/^```/ {
		if (out != "") { close(out); out = ""; next }
		if (skipping) { skipping = 0; next }
		if ($0 == "```sh") { n++; out = sprintf("%s/%03d.sh", dir, n); at = sprintf("%s/%03d.line", dir, n); print NR + 1 > at; close(at); printf "" > out; shown = 1; next }
		if ($0 == "```output") {
			if (!shown) { print "readme: line " NR ": an output block must follow a sh block" > "/dev/stderr"; exit 1 }
			out = sprintf("%s/%03d.want", dir, n); printf "" > out; shown = 0; next
		}
		skipping = 1; shown = 0; next
	}
	out != "" { print > out; next }
	!skipping && NF { shown = 0 }
	END { if (!n) { print "readme: the page has no sh block" > "/dev/stderr"; exit 1 } }
' "$page"

# Ports: a free pair unless one was asked for.
port=${README_PORT:-}
busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
while [ -z "$port" ]; do
	try=$((20000 + RANDOM % 10000))
	busy $try || busy $((try + 1)) || port=$try
done
export COUNTERSIGN_CACHE=${COUNTERSIGN_CACHE:-$root/.cache}
export COUNTERSIGN_LISTEN=127.0.0.1:$port COUNTERSIGN_ADMIN_LISTEN=127.0.0.1:$((port + 1))
export COUNTERSIGN=http://localhost:$port ADMIN=http://localhost:$((port + 1)) no_proxy=localhost,127.0.0.1

# The blocks are sourced by one shell: what one sets, the next has. Its standard output is a file a block.
{
	echo 'set -e -o pipefail'
	echo "trap 'left=\$(jobs -p); [ -z \"\$left\" ] || { kill \$left 2>/dev/null; wait; }' EXIT" # a service that a failing block left
	for block in "$work"/blocks/*.sh; do
		name=${block%.sh}
		printf 'echo %q >%q\nexec >%q\n' "$name" "$work/current" "$name.got"
		printf '. %q\n' "$block"
	done
	printf 'echo done >%q\n' "$work/current"
} >"$work/run.sh"

cd "$work/tree"
set -m # a process group of its own
timeout -k 30 "${README_TIMEOUT:-900}" bash "$work/run.sh" </dev/null 2>"$work/stderr" &
runner=$!
set +m
code=0
wait "$runner" || code=$?
current=$(cat "$work/current" 2>/dev/null || true)

fail() { # name of a block, what was wrong
	echo "readme: $page line $(cat "$1.line"): $2" >&2
	sed 's/^/    /' "$1.sh" >&2
	echo "it printed:" >&2
	tail -n 40 "$1.got" 2>/dev/null | sed 's/^/    /' >&2
	exit 1
}

if [ "$code" != 0 ]; then
	echo "standard error ended with:" >&2
	tail -n 20 "$work/stderr" | sed 's/^/    /' >&2
	if [ -s "$work/tree/data/countersign.log" ]; then
		echo "the service's log ended with:" >&2
		tail -n 20 "$work/tree/data/countersign.log" | sed 's/^/    /' >&2
	fi
	[ "$code" != 124 ] || fail "$current" "not done after ${README_TIMEOUT:-900} s"
	fail "$current" "a command failed (exit code $code)"
fi

# pattern turns a shown line into an extended regular expression for the whole line.
pattern() {
	sed -e 's/[][\.*^$+?(){}|]/\\&/g' \
		-e 's/<hash>/[0-9a-f]{64}/g' -e 's/<uuid>/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g' \
		-e 's/<base64>/[A-Za-z0-9+\/]+=*/g' -e 's/<number>/[1-9][0-9]*/g' -e 's/<any>/.+/g' <<<"$1"
}

checked=0
for want in "$work"/blocks/*.want; do
	[ -e "$want" ] || break
	name=${want%.want}
	mapfile -t expected <"$want"
	mapfile -t got < <(sed '${/^$/d}' "$name.got") # "; echo" after a reply without a newline may leave an empty last line
	[ "${#got[@]}" = "${#expected[@]}" ] || fail "$name" "the page shows ${#expected[@]} lines, it printed ${#got[@]}"
	for i in "${!expected[@]}"; do
		regex="^$(pattern "${expected[$i]}")\$"
		[[ ${got[$i]} =~ $regex ]] || fail "$name" "line $((i + 1)) of the output should look like: ${expected[$i]}"
	done
	checked=$((checked + 1))
done
echo "readme: $(ls "$work"/blocks/*.sh | wc -l) blocks of $page ran, $checked replies as shown"
