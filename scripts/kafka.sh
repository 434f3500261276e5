#!/usr/bin/env bash
# Apache Kafka for tests: one KRaft process, broker and controller, on loopback.
#
#   scripts/kafka.sh fetch            jars into .cache/kafka (43 MB), versions from kafka.pom.xml, checked against kafka.sha256
#   scripts/kafka.sh start DIR PORT   starts it in the background with its files in DIR, waits until it answers on
#                                     127.0.0.1:PORT, prints its pid; the controller listens on PORT+1
#   scripts/kafka.sh stop DIR         stops the one started with DIR, and waits for its end
#
# Needs java 17 or newer, and mvn for fetch. KAFKA_HEAP sets the heap (default 512m), COUNTERSIGN_CACHE replaces .cache.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
libs="${COUNTERSIGN_CACHE:-$here/../.cache}/kafka/libs"

die() { echo "kafka.sh: $*" >&2; exit 1; }

need_java() {
	command -v java >/dev/null || die "java is missing: install a Java runtime, version 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
	local version
	version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
	[ "${version:-0}" -ge 17 ] || die "java is version ${version:-unknown}: Apache Kafka 4 needs 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
}

# The set of jars is exactly the committed one: nothing missing, nothing else, nothing changed.
verified() {
	[ -d "$libs" ] || return 1
	(cd "$libs" && sha256sum --check --strict --quiet "$here/kafka.sha256" &&
		diff <(awk '{print $2}' "$here/kafka.sha256" | sort) <(ls | sort) >/dev/null) >/dev/null 2>&1
}

fetch() {
	if verified; then return; fi
	command -v mvn >/dev/null || die "mvn is missing: install Maven (Debian: apt-get install maven)"
	need_java
	local fresh="$libs.new"
	rm -rf "$fresh"
	mvn -q -B -ntp -Dstyle.color=never -f "$here/kafka.pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fresh" >&2 ||
		die "Maven could not resolve Apache Kafka: check the network, or the mirror in ~/.m2/settings.xml"
	rm -rf "$libs"
	mv "$fresh" "$libs"
	verified || die "the jars in $libs are not those of scripts/kafka.sha256: delete $libs and ~/.m2/repository/org/apache/kafka and fetch again; after a wanted change of version, renew the list with: (cd .cache/kafka/libs && sha256sum -- *.jar) > scripts/kafka.sha256"
}

start() {
	[ $# -eq 2 ] || die "usage: kafka.sh start DIR PORT"
	local dir=$1 port=$2
	need_java
	verified || die "Apache Kafka is not in $libs: run scripts/kafka.sh fetch"
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	[ ! -e "$dir/pid" ] || ! kill -0 "$(cat "$dir/pid")" 2>/dev/null || die "one runs with $dir already: scripts/kafka.sh stop $dir"
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then die "port $port is in use"; fi
	cat >"$dir/server.properties" <<-PROPERTIES
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$((port + 1))
		controller.listener.names=CONTROLLER
		listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
		advertised.listeners=PLAINTEXT://127.0.0.1:$port
		listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
		log.dirs=$dir/data
		auto.create.topics.enable=false
		offsets.topic.replication.factor=1
		offsets.topic.num.partitions=4
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		share.coordinator.state.topic.replication.factor=1
		share.coordinator.state.topic.min.isr=1
		group.initial.rebalance.delay.ms=0
	PROPERTIES
	if [ ! -e "$dir/data/meta.properties" ]; then
		java -Xmx128m -cp "$libs/*" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn kafka.tools.StorageTool format \
			-t "$(java -Xmx64m -cp "$libs/*" -Dorg.slf4j.simpleLogger.defaultLogLevel=error kafka.tools.StorageTool random-uuid)" \
			-c "$dir/server.properties" >"$dir/log" 2>&1 || die "format failed: see $dir/log"
	fi
	local heap=${KAFKA_HEAP:-512m}
	setsid java -Xms"$heap" -Xmx"$heap" -XX:+UseG1GC -cp "$libs/*" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
		kafka.Kafka "$dir/server.properties" >>"$dir/log" 2>&1 </dev/null &
	local pid=$!
	echo "$pid" >"$dir/pid"
	for _ in $(seq 240); do
		kill -0 "$pid" 2>/dev/null || die "it ended while starting: see $dir/log"
		if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$pid"
			return
		fi
		sleep 0.25
	done
	kill "$pid"
	die "no answer on port $port after a minute: see $dir/log"
}

stop() {
	[ $# -eq 1 ] || die "usage: kafka.sh stop DIR"
	[ -e "$1/pid" ] || die "nothing was started with $1"
	local pid
	pid=$(cat "$1/pid")
	kill "$pid" 2>/dev/null || true
	for _ in $(seq 120); do
		if ! kill -0 "$pid" 2>/dev/null; then
			rm -f "$1/pid"
			return
		fi
		sleep 0.25
	done
	kill -9 "$pid" 2>/dev/null || true
	rm -f "$1/pid"
}

case ${1:-} in
fetch | start | stop) "$@" ;;
*) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
