package store

// The way of a database of version 1 to the tables of version 2: its rows move range by range of the hash, while the
// service runs. Every hash is found at any time, because look-ups ask the old table as well until all have moved.
//
//	plan ─► counts of the last 48 hours ─► range 0 ─► ... ─► range n-1 ─► all have moved ─► a minute later: old rows dropped
//
// A range is recorded in table moves after its rows are stored. A process that dies before moves the range again, and
// several processes may move at once: the rows have the same keys. The plan is the text of a view, because creating a
// view is the one thing that ClickHouse does for the first comer only (shards.go).
//
// What version 1 had forgotten stays forgotten: of uploads whose results it had dropped, only what they added is
// counted.

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"countersign/internal/pause"
)

const (
	// rowsOfRange is how many rows move at once: some 80 MB with RSA-2048.
	rowsOfRange = 250_000
	// dropAfter is how long the old rows stay after all have moved: queries that began before are over, or hold them.
	dropAfter = time.Minute
)

// movedShard is the shard of outcomes that count what old uploads added, by range.
const movedShard = -2

var moveRetries = pause.Backoff{First: time.Second, Most: time.Minute}

// MoveOldRows moves what version 1 stored to the tables of version 2, and returns when that is done or ctx ends. It
// tries again when ClickHouse fails. Sinks of version 1 must have ended.
func (db *DB) MoveOldRows(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		err := db.moveOldRows(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			wait := moveRetries.After(n)
			db.cfg.Logger.Warn("moving the rows of version 1 failed; it is tried again, and they are found where they are", "error", err, "in", wait)
			_ = pause.For(ctx, wait)
		}
	}
}

// moveState is how far the move is.
type moveState struct {
	rows uint64 // in the old table
	next uint32 // range to move
	done bool
}

func (db *DB) moveOldRows(ctx context.Context) error {
	if db.layout().distributed() {
		return nil
	}
	if err := db.describeCertificates(ctx); err != nil {
		return err
	}
	s, err := db.moveState(ctx)
	if err != nil {
		return err
	}
	if !s.done && s.rows == 0 && s.next == 0 {
		err := db.recordMove(ctx, 0, nil) // a new database
		db.moved.Store(err == nil)
		return err
	}
	if !s.done {
		if err := db.moveRanges(ctx, s); err != nil {
			return err
		}
		s.rows = 1
	}
	if s.rows == 0 {
		return nil
	}
	if err := pause.For(ctx, dropAfter); err != nil {
		return err
	}
	return db.dropOldRows(ctx)
}

// dropOldRows empties the old table, unless a sink of version 1 has written to it since the plan was made.
func (db *DB) dropOldRows(ctx context.Context) error {
	p, err := db.movePlan(ctx, 0)
	if err != nil {
		return err
	}
	block, err := db.lastBlock(ctx)
	if err != nil {
		return err
	}
	if block > p.block {
		db.cfg.Logger.Error("an earlier version of countersign has written to table signed_hashes after its rows began to move: they are kept " +
			"there, and nobody looks for those that came late; stop that version")
		return nil
	}
	err = db.exec(ctx, "TRUNCATE TABLE signed_hashes SETTINGS max_table_size_to_drop = 0")
	return db.wrap(ctx, err, "drop the rows of version 1")
}

// lastBlock is the number of the old table's last insert, and -1 where there is none.
func (db *DB) lastBlock(ctx context.Context) (block int64, err error) {
	const query = "SELECT if(count() = 0, toInt64(-1), max(max_block_number)) FROM system.parts" +
		" WHERE database = currentDatabase() AND table = 'signed_hashes' AND active"
	err = db.selectAll(ctx, "look at the parts of version 1", query, func(rows driver.Rows) error { return rows.Scan(&block) })
	return block, err
}

func (db *DB) moveState(ctx context.Context) (s moveState, err error) {
	if db.layout().distributed() { // version 1 filled none
		db.moved.Store(true)
		return moveState{done: true}, nil
	}
	const query = "SELECT (SELECT count() FROM signed_hashes), (SELECT if(count() = 0, 0, max(number) + 1) FROM moves), (SELECT max(done) FROM moves)"
	var done uint8
	var next uint64
	err = db.selectAll(ctx, "read how far the move is", query, func(rows driver.Rows) error {
		return rows.Scan(&s.rows, &next, &done)
	})
	s.next, s.done = uint32(next), done != 0
	if s.done {
		db.moved.Store(true)
	}
	return s, err
}

// plan is what all who move agree on.
type plan struct {
	ranges uint32
	cutoff int64 // Unix milliseconds: of uploads from before, what they added is counted by range
	block  int64 // the old table's last insert
}

// movePlan returns the plan, which the first comer makes.
func (db *DB) movePlan(ctx context.Context, rows uint64) (p plan, err error) {
	block, err := db.lastBlock(ctx)
	if err != nil {
		return p, err
	}
	create := fmt.Sprintf("CREATE VIEW IF NOT EXISTS move_plan%s AS SELECT toUInt32(%d) AS ranges, toInt64(%d) AS cutoff, toInt64(%d) AS block",
		db.layout().onCluster(), max(1, (rows+db.moveRows-1)/db.moveRows), db.oldest(), block)
	if err := db.everywhere(ctx, []string{create}, nil); err != nil {
		return p, db.wrap(ctx, err, "plan the move of the rows of version 1")
	}
	err = db.selectAll(ctx, "read the plan of the move", "SELECT ranges, cutoff, block FROM move_plan", func(rows driver.Rows) error {
		return rows.Scan(&p.ranges, &p.cutoff, &p.block)
	})
	return p, err
}

func (db *DB) moveRanges(ctx context.Context, s moveState) error {
	p, err := db.movePlan(ctx, s.rows)
	if err != nil {
		return err
	}
	db.cfg.Logger.Info("moving the rows of version 1", "hashes", s.rows, "ranges", p.ranges, "from", s.next)
	if s.next == 0 {
		if err := db.moveCounts(ctx, p); err != nil {
			return err
		}
	}
	for ; s.next < p.ranges; s.next++ {
		start := time.Now()
		if err := db.moveRange(ctx, p, s.next); err != nil {
			return err
		}
		if err := pause.For(ctx, time.Since(start)); err != nil { // leaves half of the time to others
			return err
		}
	}
	db.cfg.Logger.Info("the rows of version 1 have moved", "ranges", p.ranges)
	db.moved.Store(true)
	return nil
}

// moveCounts stores the counts of uploads whose results version 1 still has. A row of version 2 with the same key wins:
// its offset is lower.
func (db *DB) moveCounts(ctx context.Context, p plan) error {
	err := db.exec(ctx, fmt.Sprintf("INSERT INTO outcomes (upload, batch, shard, part, site, accepted_at, claims, added, duplicates,"+
		" bad_signatures, errors, log_offset)"+
		" SELECT r.upload, r.batch, r.shard, r.part, u.site, r.accepted_at, r.claims, r.added, r.duplicates, r.bad_signatures, r.errors, toInt64(9223372036854775807)"+
		" FROM (SELECT * FROM batch_results FINAL WHERE accepted_at >= %s) AS r LEFT ANY JOIN uploads AS u ON u.id = r.upload", moment(p.cutoff)))
	return db.wrap(ctx, err, "move the counts of version 1")
}

// moveRange moves one range: signatures before owners, as the sink writes them.
func (db *DB) moveRange(ctx context.Context, p plan, number uint32) error {
	where, err := shardRange(int(number), int(p.ranges))
	if err != nil {
		return err
	}
	const signature = "site, signed_at, upload, position, hash, upper, algorithm, signature, certificate"
	const owner = "hash, upload, position, site, signed_at"
	from := " FROM signed_hashes FINAL" + where
	for _, statement := range []string{
		"INSERT INTO signatures (" + signature + ", moved) SELECT " + signature + ", 1" + from,
		"INSERT INTO owners (" + owner + ") SELECT " + owner + from,
		fmt.Sprintf("INSERT INTO outcomes (upload, batch, shard, part, site, accepted_at, added, certificates, certificate_added, certificate_duplicates, log_offset)"+
			" SELECT upload, batch, %d, %d, any(s), min(at), sum(n), groupArray(certificate), groupArray(n), groupArray(toUInt32(0)), -1 FROM ("+
			" SELECT upload, toUInt32(intDiv(position, 1000) + 1) AS batch, certificate, any(site) AS s, min(signed_at) AS at, toUInt32(count()) AS n%s"+
			" AND signed_at < %s GROUP BY upload, batch, certificate) GROUP BY upload, batch", movedShard, number, from, moment(p.cutoff)),
	} {
		if err := db.exec(ctx, statement+" SETTINGS max_threads = 1, max_insert_threads = 1"); err != nil {
			return db.wrap(ctx, err, fmt.Sprintf("move range %d of %d of version 1", number, p.ranges))
		}
	}
	if number+1 < p.ranges {
		return db.recordMove(ctx, number, firstHash(int(number)+1, int(p.ranges)))
	}
	return db.recordMove(ctx, number, nil)
}

// recordMove notes that a range has moved. Without a hash that the next one begins with, it was the last.
func (db *DB) recordMove(ctx context.Context, number uint32, below []byte) error {
	values := fmt.Sprintf("(%d, unhex(''), 1)", number)
	if below != nil {
		values = fmt.Sprintf("(%d, %s, 0)", number, literal(below))
	}
	err := db.retryQuorum(ctx, func() error { return db.exec(ctx, "INSERT INTO moves (number, below, done) VALUES "+values) })
	return db.wrap(ctx, err, "record what has moved")
}
