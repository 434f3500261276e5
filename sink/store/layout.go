package store

// Where the tables lie: on one server, on a cluster of one ClickHouse shard, or divided among several. Only this file
// and the templates of schema/ know. All statements use one name for a table. With several ClickHouse shards the rows
// of table x are in tables x_local, and x is a Distributed table over them.
//
// What is found by its hash lies by its hash, so that a look-up asks one ClickHouse shard and goes on while another one
// is away. What is found by its upload lies by its upload. Both times the leading 32 bits decide, as they decide the
// shard of the log: a range of hashes is a ClickHouse shard, and where --shards is a multiple of their number, a shard
// of the log lies on one of them.
//
// The number and the order of ClickHouse shards can't be changed once there is data: a hash that is looked up on
// another one than that which has it would get a second owner.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"countersign/pipeline/record"
)

// layout is where the tables lie. The zero layout is one server.
type layout struct {
	cluster    string // empty: one server
	database   string
	shards     int      // ClickHouse shards of the cluster
	replicated bool     // there is a Keeper: tables are Replicated, and the servers pass statements on (ON CLUSTER)
	hosts      []string // host:port of every server that must be told each statement, in the cluster's order
}

// distributed says that rows are divided among several ClickHouse shards.
func (l *layout) distributed() bool { return l.shards > 1 }

// tables are all tables, with the expression that places a row of each: bytes of which the leading 32 bits count.
// Without one, each ClickHouse shard has a copy of the row.
var tables = map[string]string{
	"signed_hashes":     "hash",
	"signatures":        "hash",
	"owners":            "hash",
	"cosigners":         "hash",
	"certificates":      "fingerprint",
	"uploads":           "UUIDToNum(id)",
	"exceptions":        "UUIDToNum(upload)",
	"outcomes":          "UUIDToNum(upload)",
	"batch_results":     "UUIDToNum(upload)",
	"moves":             "below",
	"schema_migrations": "",
}

// local is the table that has a server's own rows of a table.
func (l *layout) local(table string) string {
	if l.distributed() {
		return table + "_local"
	}
	return table
}

// tables are the names under which a table's columns are declared: its own, and that of the rows before it.
func (l *layout) tables(table string) []string {
	if l.distributed() {
		return []string{l.local(table), table}
	}
	return []string{table}
}

func (l *layout) onCluster() string {
	if l.replicated {
		return " ON CLUSTER " + quote(l.cluster)
	}
	return ""
}

// engine is the engine of a table that has rows. A Replicated one takes path and replica name from the server's macros.
func (l *layout) engine(engine string, args ...string) string {
	if l.replicated {
		engine = "Replicated" + engine
	}
	return engine + "(" + strings.Join(args, ", ") + ")"
}

// distribute makes the table that stands for a table on all ClickHouse shards, and nothing where there is one.
func (l *layout) distribute(table string) (string, error) {
	by, ok := tables[table]
	if !ok {
		return "", fmt.Errorf("nothing says where the rows of %s lie", table)
	}
	if !l.distributed() {
		return "", nil
	}
	args := []string{quote(l.cluster), quote(l.database), quote(l.local(table))}
	if by != "" {
		args = append(args, l.place(by))
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s%s AS %s\nENGINE = Distributed(%s);\n",
		table, l.onCluster(), l.local(table), strings.Join(args, ", ")), nil
}

// place is the number of the ClickHouse shard, from 0, as SQL: record.Shard of the leading 32 bits.
func (l *layout) place(bytes string) string {
	return fmt.Sprintf("bitShiftRight(toUInt64(byteSwap(reinterpretAsUInt32(%s))) * %d, 32)", bytes, l.shards)
}

// Places is the number of ClickHouse shards, among which record.Shard divides hashes, fingerprints and UUIDs of
// uploads. It is 1 until Migrate has returned. While one of them is away, what is asked about keys of the others is
// answered.
func (db *DB) Places() int { return max(1, db.layout().shards) }

// layout is where the tables lie, as far as that is known.
func (db *DB) layout() *layout {
	if l := db.found.Load(); l != nil {
		return l
	}
	return new(layout)
}

// share is what a query about some keys asks of one ClickHouse shard.
type share[K any] struct {
	keys []K
	only string // a condition, after others, that keeps the query to that ClickHouse shard
}

// byPlace divides keys among ClickHouse shards. column is what a table has for a key, as in tables.
func byPlace[K any](l *layout, keys []K, bytes func(*K) []byte, column string) []share[K] {
	if !l.distributed() {
		return []share[K]{{keys: keys}}
	}
	divided := make([]share[K], l.shards)
	for i := range keys {
		s := &divided[record.Shard(bytes(&keys[i]), l.shards)]
		s.keys = append(s.keys, keys[i])
	}
	for i := range divided {
		divided[i].only = fmt.Sprintf(" AND %s = %d", l.place(column), i)
	}
	return slices.DeleteFunc(divided, func(s share[K]) bool { return len(s.keys) == 0 })
}

func hashBytes(hash *[32]byte) []byte { return hash[:] }

func idBytes(id *uuid.UUID) []byte { return id[:] }

// clusterSettings are what a cluster asks of connections, beside what the URL says. Look-ups that decide ownership must
// see every confirmed insert. So inserts wait for the ClickHouse shards that they go to, none of these is skipped when
// it is away, and subqueries are asked where the rows lie. Sequential consistency is only kept for quorum inserts that
// wait for each other, so those are serial (ClickHouse, settings, select_sequential_consistency). A server gives up
// another one that is silent before we would take the server itself for silent.
func clusterSettings(own clickhouse.Settings, silence time.Duration) clickhouse.Settings {
	settings := clickhouse.Settings{
		"insert_quorum": "auto", "insert_quorum_parallel": 0, "select_sequential_consistency": 1,
		"distributed_foreground_insert": 1, "skip_unavailable_shards": 0,
		"optimize_skip_unused_shards": 1, "distributed_product_mode": "local",
		"receive_timeout": int(silence * 3 / 4 / time.Second), "handshake_timeout_ms": int(silence / 4 / time.Millisecond),
		"connections_with_failover_max_tries": 2, "use_hedged_requests": 0,
	}
	maps.Copy(settings, own)
	return settings
}

// clusterHost is a row of system.clusters.
type clusterHost struct {
	shard, replica, weight uint32
	address                string
}

// findLayout asks the server where the tables lie.
func (db *DB) findLayout(ctx context.Context) (*layout, error) {
	l := &layout{cluster: db.cfg.Cluster, database: db.database, shards: 1}
	if l.cluster == "" {
		return l, nil
	}
	var keeper uint8
	err := db.selectAll(ctx, "look for a Keeper", "EXISTS TABLE system.zookeeper", func(rows driver.Rows) error { return rows.Scan(&keeper) })
	if err != nil {
		return nil, err
	}
	l.replicated = keeper != 0
	hosts, err := db.clusterHosts(ctx)
	if err != nil {
		return nil, err
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("clickhouse: the server knows no cluster %q: check its remote_servers, or the configured name", l.cluster)
	}
	for _, h := range hosts {
		switch {
		case h.weight != 1:
			return nil, fmt.Errorf("clickhouse: shard %d of cluster %q has the weight %d: hashes are divided evenly, so give every shard the weight 1",
				h.shard, l.cluster, h.weight)
		case h.replica > 1 && !l.replicated:
			return nil, fmt.Errorf("clickhouse: shard %d of cluster %q has several replicas, and the server at %s knows no Keeper: "+
				"replicas need one (<zookeeper> in the server's configuration)", h.shard, l.cluster, db.where())
		}
		l.shards = max(l.shards, int(h.shard))
		if !l.replicated {
			l.hosts = append(l.hosts, h.address)
		}
	}
	return l, nil
}

func (db *DB) clusterHosts(ctx context.Context) (hosts []clusterHost, err error) {
	query := "SELECT shard_num, replica_num, shard_weight, host_name, port FROM system.clusters WHERE cluster = " + quote(db.cfg.Cluster) +
		" ORDER BY shard_num, replica_num"
	err = db.selectAll(ctx, "look up cluster "+db.cfg.Cluster, query, func(rows driver.Rows) error {
		var h clusterHost
		var name string
		var port uint16
		err := rows.Scan(&h.shard, &h.replica, &h.weight, &name, &port)
		h.address = net.JoinHostPort(name, fmt.Sprint(port))
		hosts = append(hosts, h)
		return err
	})
	return hosts, err
}

// checkLayout refuses a cluster whose ClickHouse shards are not those among which the stored rows were divided: another
// number of them, or another order.
func (db *DB) checkLayout(ctx context.Context) error {
	l := db.layout()
	if l.cluster == "" {
		return nil
	}
	const view = "cluster_shards"
	return db.agree(ctx, view, int64(l.shards), func(recorded int64) error {
		if recorded != int64(l.shards) {
			return fmt.Errorf("clickhouse: cluster %q has %d shards, but this database was filled on %d: with another number a hash could get a second "+
				"owner: name a cluster with %d shards, or start with an empty database", l.cluster, l.shards, recorded, recorded)
		}
		return nil
	})
}

// checkEngines refuses a database whose tables lie in another way, before anything is made.
func (db *DB) checkEngines(ctx context.Context) error {
	l := db.layout()
	const table = "schema_migrations"
	engines := make(map[string]string)
	query := fmt.Sprintf("SELECT name, engine FROM system.tables WHERE database = currentDatabase() AND name IN (%s, %s)", quote(table), quote(l.local(table)))
	err := db.selectAll(ctx, "look at the tables that there are", query, func(rows driver.Rows) error {
		var name, engine string
		err := rows.Scan(&name, &engine)
		engines[name] = engine
		return err
	})
	if err != nil {
		return err
	}
	whole, there := engines[table]
	switch own, ok := engines[l.local(table)]; {
	case there && whole == "Distributed" && !l.distributed():
		return errors.New("clickhouse: the rows of this database are divided among several ClickHouse shards: name their cluster (--clickhouse-cluster)")
	case there && whole != "Distributed" && l.distributed():
		return fmt.Errorf("clickhouse: this database was filled on one ClickHouse shard, and cluster %q has %d: name a cluster with one shard, "+
			"or start with an empty database", l.cluster, l.shards)
	case ok && l.cluster != "" && strings.HasPrefix(own, "Replicated") != l.replicated:
		return fmt.Errorf("clickhouse: the tables of this database have engines like %s, and the server at %s has a Keeper: %t; "+
			"tables are Replicated where there is one: configure it as it was, or start with an empty database", own, db.where(), l.replicated)
	}
	return nil
}

// checkOrder looks at one of the server's own rows: its hash tells of which ClickHouse shard it is.
func (db *DB) checkOrder(ctx context.Context) error {
	l := db.layout()
	if !l.distributed() {
		return nil
	}
	// A server that is reached in a way that it doesn't know of is no local one to itself: then the number is 0.
	query := fmt.Sprintf("SELECT toInt64(%s) + 1, (SELECT toInt64(max(shard_num)) FROM system.clusters WHERE cluster = %s AND is_local) FROM %s LIMIT 1",
		l.place("hash"), quote(l.cluster), l.local("owners"))
	var stored, now int64
	err := db.selectAll(ctx, "look at a stored hash", query, func(rows driver.Rows) error { return rows.Scan(&stored, &now) })
	if err == nil && now != 0 && stored != 0 && stored != now {
		return fmt.Errorf("clickhouse: the server that is shard %d of cluster %q has rows of shard %d: with another order of shards a hash could get "+
			"a second owner: give the shards in remote_servers the order that they had", now, l.cluster, stored)
	}
	return err
}
