#!/bin/sh
# Fetches the ClickHouse engine that countersign embeds: libchdb.so out of an npm package, at the version that package
# sink/store names. A new version needs a new hash below.
#
# The archive is only unpacked when its SHA-512 is the committed one: whatever answered the download, a different
# file never gets as far as being loaded. A library that is there already must have the committed
# SHA-256. The file appears at its place complete or not at all.
#
#   COUNTERSIGN_CACHE   the cache to put it in (default: .cache beside this script's folder); `make clean` leaves it alone
#   COUNTERSIGN_ENGINE_ARCHIVE   a .tgz that was fetched before, for machines without a way out; checked the same
set -eu

package='@chdb/lib-linux-x64-gnu'
# The same as LibDigest in sink/store/engine/library.go: of the unpacked library.
digest='36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5'
integrity='XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw=='

fail() {
	echo "fetch-engine: $*" >&2
	exit 1
}

root=$(cd "$(dirname "$0")/.." && pwd)
# The version stands in one place: the constant by which the program looks for the library.
version=$(grep -rhoE --include='*.go' 'Version = "[0-9.]+-stable\.[0-9]+"' "$root/sink/store" | cut -d '"' -f 2)
[ "$(echo "$version" | wc -w)" = 1 ] || fail "sink/store should name one version of the engine's package, and names: $version"
dir=${COUNTERSIGN_CACHE:-$root/.cache}/engine/$version
lib=$dir/libchdb.so

command -v openssl >/dev/null || fail "openssl is needed to check what was fetched; install it and run this again"

# is_pinned says whether a file is the library that the program will load.
is_pinned() {
	[ "$(openssl dgst -sha256 -r "$1" | cut -d ' ' -f 1)" = "$digest" ]
}

if [ -s "$lib" ]; then
	if is_pinned "$lib"; then
		echo "$lib"
		exit 0
	fi
	echo "fetch-engine: $lib is not the pinned library (its SHA-256 should be $digest): fetching it again" >&2
fi

case "$(uname -s)-$(uname -m)" in
Linux-x86_64) ;;
*) fail "there is no engine library for $(uname -s) on $(uname -m) here; install ClickHouse and put its clickhouse binary on PATH, or use --clickhouse URL" ;;
esac
mkdir -p "$dir"
work=$(mktemp -d "$dir/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

archive=${COUNTERSIGN_ENGINE_ARCHIVE:-}
if [ -z "$archive" ]; then
	command -v npm >/dev/null || fail "npm is needed to fetch $package; install it (Node.js), or set COUNTERSIGN_ENGINE_ARCHIVE to its .tgz"
	echo "fetching $package $version (178 MB)" >&2
	# In an empty folder, and without scripts: nothing of the package runs here.
	name=$(cd "$work" && npm pack --silent --ignore-scripts "$package@$version" | tail -n 1)
	[ -n "$name" ] && [ -s "$work/$name" ] || fail "npm did not deliver $package@$version; see its messages above and try again"
	archive=$work/$name
fi
[ -r "$archive" ] || fail "can't read $archive"

actual=$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)
[ "$actual" = "$integrity" ] || fail "the archive's SHA-512 is $actual and should be $integrity: it is damaged or not the pinned version, so it was not used. Try again; if it stays, the registry in use delivers something else."

tar -xzf "$archive" -C "$work" package/libchdb.so || fail "can't unpack libchdb.so: is $dir full? it needs 570 MB"
is_pinned "$work/package/libchdb.so" || fail "the archive holds another library than $digest: sink/store/engine/library.go and this script disagree about the version"
chmod 0755 "$work/package/libchdb.so"
sync "$work/package/libchdb.so"
mv -f "$work/package/libchdb.so" "$lib"
echo "$lib"
