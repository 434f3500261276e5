package store

// Whether ClickHouse would take what the service writes, found out without writing.

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// minFreeSpace is what a disk of ClickHouse must have free, in bytes: an insert of all tables, and the merge of some.
const minFreeSpace = 256 << 20

// Check returns nil when ClickHouse answers and would take inserts, and otherwise a sentence for the operator: it is
// away, silent, read only, out of disk, or lacks a table or a right. It uses a connection of its own, so it waits for
// nobody, and answers within a few seconds or when ctx ends. A file system that fails or was mounted read only shows
// only in inserts.
func (db *DB) Check(ctx context.Context) error {
	for _, check := range []func(context.Context) error{db.checkDisks, db.checkReplicas, db.checkRights, db.checkShards} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// checkDisks finds a user, or a server, that may only read, and disks that inserts could not use. One query for both
// takes ClickHouse 3 ms of a core.
func (db *DB) checkDisks(ctx context.Context) error {
	var bad []string
	var level string
	const query = "SELECT toString(getSetting('readonly')), name, path, free_space, is_remote, is_read_only OR is_write_once " +
		"FROM system.disks ORDER BY name"
	err := db.ask(ctx, query, func(rows driver.Rows) error {
		var name, path string
		var free uint64
		var remote, fixed uint8
		err := rows.Scan(&level, &name, &path, &free, &remote, &fixed)
		switch {
		case fixed != 0:
			bad = append(bad, fmt.Sprintf("disk %s (%s) can't be written to", name, path))
		case remote == 0 && free < minFreeSpace:
			bad = append(bad, fmt.Sprintf("disk %s (%s) has %d MiB free", name, path, free>>20))
		}
		return err
	})
	if err == nil && level != "0" {
		return fmt.Errorf("ClickHouse at %s lets this user only read (setting readonly is %s): give the user of the ClickHouse URL a profile that may write",
			db.where(), level)
	}
	if err == nil && len(bad) > 0 {
		return fmt.Errorf("ClickHouse at %s has no room: %s; free at least %d MiB", db.where(), strings.Join(bad, ", "), minFreeSpace>>20)
	}
	return err
}

// checkReplicas finds replicated tables that refuse inserts, because their Keeper is away.
func (db *DB) checkReplicas(ctx context.Context) error {
	if db.cfg.Cluster == "" {
		return nil
	}
	var tables []string
	query := "SELECT table FROM system.replicas WHERE database = currentDatabase() AND is_readonly ORDER BY table"
	err := db.ask(ctx, query, func(rows driver.Rows) error {
		var table string
		err := rows.Scan(&table)
		tables = append(tables, table)
		return err
	})
	if err == nil && len(tables) > 0 {
		return fmt.Errorf("ClickHouse at %s takes no inserts into %s: the tables are read only; is its Keeper there?",
			db.where(), strings.Join(tables, ", "))
	}
	return err
}

// checkRights finds a right to insert that was taken away, and a table that is gone.
func (db *DB) checkRights(ctx context.Context) error {
	var granted uint8
	err := db.ask(ctx, "CHECK GRANT INSERT ON signatures", func(rows driver.Rows) error { return rows.Scan(&granted) })
	if err == nil && granted == 0 {
		return fmt.Errorf("ClickHouse at %s lets this user not insert into signatures: grant INSERT to the user of the ClickHouse URL", db.where())
	}
	if err != nil {
		return err
	}
	return db.ask(ctx, "SELECT hash FROM signatures LIMIT 0", func(driver.Rows) error { return nil })
}

// checkShards finds a ClickHouse shard that is away: it takes no inserts, and each upload has hashes for all of them. The
// table is empty, or nearly.
func (db *DB) checkShards(ctx context.Context) error {
	if !db.layout().distributed() {
		return nil
	}
	err := db.ask(ctx, "SELECT count() FROM moves", func(driver.Rows) error { return nil })
	if err != nil {
		return fmt.Errorf("a shard of cluster %s doesn't answer: %w", db.cfg.Cluster, err)
	}
	return nil
}

// ask runs a query on the connection that is kept for questions about the server.
func (db *DB) ask(ctx context.Context, query string, scan func(driver.Rows) error) error {
	return db.selectOn(ctx, db.probe, "check", query, scan)
}
