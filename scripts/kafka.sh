#!/usr/bin/env bash
# Apache Kafka for tests: KRaft processes on loopback, each of them broker and controller. Every broker is a process of its own, so a
# test can stop, kill and restart one.
#
#   scripts/kafka.sh fetch                   jars into .cache/kafka (43 MB), versions from kafka.pom.xml, checked against kafka.sha256
#   scripts/kafka.sh start DIR PORT [COUNT]  starts COUNT brokers (default 1) in the background with their files in DIR/1, DIR/2 and
#                                            so on, waits until they answer, prints their addresses, separated by commas. Broker N
#                                            listens on PORT+2(N-1), its controller on the next port
#   scripts/kafka.sh restart DIR N           starts broker N again, which has ended, and returns at once
#   scripts/kafka.sh seconds DIR             prints how many seconds of processors the brokers that run have used
#   scripts/kafka.sh stop DIR                stops those that were started with DIR, and waits for their end
#
# The process id of broker N is in DIR/N/pid, its log in DIR/N/log. Needs java 17 or newer, and mvn for fetch. KAFKA_HEAP sets a
# broker's heap (default 320m), COUNTERSIGN_CACHE replaces .cache.
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

# Brokers of tests live for minutes: the second compiler and a parallel collector would cost more than they bring.
options=(-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$libs/*" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)

# alive PID also holds for a process that a signal has stopped, and not for one that has ended and that nobody has waited for.
alive() { kill -0 "$1" 2>/dev/null && ! grep -qs '^State:.Z' "/proc/$1/status"; }

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# configure DIR PORT COUNT N writes the settings of broker N. Topics of the cluster's own have three copies where there are three
# brokers, and two of them must be in sync.
configure() {
	local dir=$1/$4 port=$(($2 + 2 * ($4 - 1))) voters='' n
	for n in $(seq "$3"); do voters+="${voters:+,}$n@127.0.0.1:$(($2 + 2 * n - 1))"; done
	mkdir -p "$dir"
	echo "$port" >"$dir/port"
	cat >"$dir/server.properties" <<-PROPERTIES
		process.roles=broker,controller
		node.id=$4
		controller.quorum.voters=$voters
		controller.listener.names=CONTROLLER
		listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
		advertised.listeners=PLAINTEXT://127.0.0.1:$port
		listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
		log.dirs=$dir/data
		auto.create.topics.enable=false
		min.insync.replicas=$(($3 < 3 ? 1 : 2))
		offsets.topic.replication.factor=$(($3 < 3 ? 1 : 3))
		offsets.topic.num.partitions=4
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		share.coordinator.state.topic.replication.factor=1
		share.coordinator.state.topic.min.isr=1
		group.initial.rebalance.delay.ms=0
	PROPERTIES
}

format() { # DIR/N CLUSTER
	[ -e "$1/data/meta.properties" ] ||
		java "${options[@]}" -Xmx128m kafka.tools.StorageTool format -t "$2" -c "$1/server.properties" >"$1/log" 2>&1 ||
		die "format failed: see $1/log"
}

launch() { # DIR/N
	local heap=${KAFKA_HEAP:-320m}
	setsid java "${options[@]}" -Xms64m -Xmx"$heap" kafka.Kafka "$1/server.properties" >>"$1/log" 2>&1 </dev/null &
	echo $! >"$1/pid"
}

awaited() { # DIR/N
	local pid port
	pid=$(cat "$1/pid") port=$(cat "$1/port")
	for _ in $(seq 480); do
		alive "$pid" || die "it ended while starting: see $1/log"
		if answers "$port"; then return; fi
		sleep 0.25
	done
	die "no answer on port $port after two minutes: see $1/log"
}

start() {
	[ $# -eq 2 ] || [ $# -eq 3 ] || die "usage: kafka.sh start DIR PORT [COUNT]"
	local dir=$1 port=$2 count=${3:-1} n cluster addresses=''
	need_java
	verified || die "Apache Kafka is not in $libs: run scripts/kafka.sh fetch"
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	for n in $(seq "$count"); do
		[ ! -e "$dir/$n/pid" ] || ! alive "$(cat "$dir/$n/pid")" || die "one runs with $dir already: scripts/kafka.sh stop $dir"
		if answers $((port + 2 * n - 2)) || answers $((port + 2 * n - 1)); then die "port $port or one of the next is in use"; fi
	done
	[ -e "$dir/cluster" ] || head -c 16 /dev/urandom | base64 | tr '+/=' 'AB ' | tr -d ' ' >"$dir/cluster"
	cluster=$(cat "$dir/cluster")
	for n in $(seq "$count"); do
		configure "$dir" "$port" "$count" "$n"
		format "$dir/$n" "$cluster"
		launch "$dir/$n"
		addresses+="${addresses:+,}127.0.0.1:$(cat "$dir/$n/port")"
	done
	for n in $(seq "$count"); do (awaited "$dir/$n") || { stop "$dir"; exit 1; }; done
	echo "$addresses"
}

restart() {
	[ $# -eq 2 ] && [ -e "$1/$2/pid" ] || die "usage: kafka.sh restart DIR N, with a broker that was started"
	local dir
	dir=$(cd "$1/$2" && pwd)
	! alive "$(cat "$dir/pid")" || die "broker $2 runs"
	launch "$dir"
}

seconds() {
	local file sum=0 used
	for file in "$1"/*/pid; do
		used=$(ps -o cputimes= -p "$(cat "$file")" 2>/dev/null) && sum=$((sum + used))
	done
	echo "$sum"
}

# stop ends brokers that hang, too. Several that stop together can't hand over what they lead: none waits long for that.
stop() {
	[ $# -eq 1 ] || die "usage: kafka.sh stop DIR"
	local file pid
	ls "$1"/*/pid >/dev/null 2>&1 || die "nothing was started with $1"
	for file in "$1"/*/pid; do
		pid=$(cat "$file")
		kill "$pid" 2>/dev/null && kill -CONT "$pid" 2>/dev/null || true
	done
	for file in "$1"/*/pid; do
		pid=$(cat "$file")
		for _ in $(seq 80); do
			alive "$pid" || break
			sleep 0.25
		done
		kill -9 "$pid" 2>/dev/null || true
		rm -f "$file"
	done
}

case ${1:-} in
fetch | start | restart | seconds | stop) "$@" ;;
*) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
