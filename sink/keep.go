package sink

// Filters that outlive an assignment. Building a filter reads every hash of the shard from ClickHouse. Most assignments
// bring back a shard that this process had a moment before: the connection to a broker was lost, or another process
// came or went. So the filter of a revoked shard is kept for a while, and used again.
//
// A filter may say "maybe" of a stranger, but never "no" of a hash whose owner is stored, unless the walk meets the
// owner's claim again. Say the filter has the hashes of all records below R, and the shard comes back at the committed
// offset C.
//
//	... ─────────► R-1 ─────────► C-1 ─► C ─► ...
//	 in the filter  │  read again  │      the walk
//	                └ still the record that was walked?
//
// Another process may have had the shard meanwhile. What it stored comes of records that it walked. Those from C on are
// walked again, so the claims of the records from R to C are read from the log, and all of them are added. Those below
// R are in the filter already, if the log is still the one that was walked. Brokers that lose records can put others in
// their place. Then the record at R-1 is another one, or there is none. So that record is read first and compared, by
// time and content. A filter about which there is any doubt is dropped, and a new one is built.
//
// Rows of the earlier assignment that are still being written are no exception: where their records are at C or beyond,
// the walk decides them again, with the same result (I5). For that the table forgets its rows in memory.
//
// Rejected: to trust a filter when the group's generation is the next one, so that nobody else had the shard (a group
// whose state was lost counts from the start again, and it helps in the simplest case only); to keep filters on disk
// for the next start, which is a second truth that a crash can tear, and saves the few seconds that building takes.

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"countersign/pipeline/log"
	"countersign/sink/dedupe"
)

const (
	// keepFor is how long a revoked shard's filter is kept. Until then a process may hold filters of shards that now
	// belong to others: at most those that it had.
	keepFor = 10 * time.Minute
	// readBackTimeout is how long reading one record may take that is at hand if it is there at all.
	readBackTimeout = 5 * time.Second
)

// lastRecord is the last record whose hashes a filter has. The zero lastRecord says that none is known.
type lastRecord struct {
	next   int64  // offset after it
	sent   int64  // Unix milliseconds
	digest uint64 // of its value
}

// kept is the filter of a revoked shard.
type kept struct {
	table  *dedupe.Table
	bytes  int // of table
	last   lastRecord
	expiry *time.Timer
}

// keeper holds the filters of revoked shards. Its methods may be called concurrently.
type keeper struct {
	seed    maphash.Seed       // of digests
	dropped func(filter *kept) // is called for each filter that nobody took

	mu     sync.Mutex
	shards map[int]*kept // guarded by mu
}

func newKeeper(dropped func(*kept)) *keeper {
	return &keeper{seed: maphash.MakeSeed(), dropped: dropped, shards: make(map[int]*kept)}
}

// recordOf is what a filter remembers of m when it has all hashes up to it.
func (k *keeper) recordOf(m log.Message) lastRecord {
	return lastRecord{next: m.Offset + 1, sent: m.Time.UnixMilli(), digest: maphash.Bytes(k.seed, m.Value)}
}

// put keeps a shard's filter for keepFor.
func (k *keeper) put(shard int, filter *kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(shard)
	k.shards[shard] = filter
	filter.expiry = time.AfterFunc(keepFor, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.shards[shard] == filter {
			k.drop(shard)
		}
	})
}

// take hands over a shard's filter, or nil.
func (k *keeper) take(shard int) *kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	filter := k.shards[shard]
	if filter != nil {
		delete(k.shards, shard)
		filter.expiry.Stop()
	}
	return filter
}

// drop needs mu.
func (k *keeper) drop(shard int) {
	if filter := k.shards[shard]; filter != nil {
		delete(k.shards, shard)
		filter.expiry.Stop()
		k.dropped(filter)
	}
}

// dropAll ends the keeping.
func (k *keeper) dropAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for shard := range k.shards {
		k.drop(shard)
	}
}

// resume takes the filter that was kept for the shard, and reports whether it serves. The only error is that ctx ended.
func (w *walker) resume(ctx context.Context, p Partition) (bool, error) {
	filter := w.filters.take(w.id)
	if filter == nil {
		return false, nil
	}
	start, from := w.Clock(), filter.last.next
	w.table, w.gauge, w.last = filter.table, filter.bytes, filter.last
	err := w.catchUp(ctx, p)
	w.updateGauge()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err() // the filter has more hashes than w.last says, and may be kept again
	case err != nil:
		w.Logger.Info("the filter that was kept is not used", "shard", w.id, "error", err)
		w.forgetFilter()
		return false, nil
	}
	w.metrics.filtersKept.Inc()
	w.Logger.Info("shard is back with its filter", "shard", w.id, "offset", p.Start(), "records", max(0, p.Start()-from),
		"filter_bytes", w.gauge, "seconds", w.Clock().Sub(start).Seconds())
	return true, nil
}

var errOtherRecord = errors.New("the log doesn't have the last record that was walked, or has another one in its place: " +
	"brokers lost records")

// catchUp adds the claims of the records between the last one that the filter has and the first one of the walk.
func (w *walker) catchUp(ctx context.Context, p Partition) error {
	last, err := w.readLast(ctx, p, w.last.next)
	if err == nil && last != w.last {
		err = errOtherRecord
	}
	if err != nil {
		return err
	}
	err = p.ReadRange(ctx, w.last.next, p.Start(), func(m log.Message) error {
		if v, err := w.decodeValue(m.Value); err == nil { // what can't be read has no rows
			for _, c := range v.GetBlock().GetClaims() {
				w.table.Load(c.GetHashes())
			}
		}
		w.last = w.filters.recordOf(m)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what was walked meanwhile: %w", err)
	}
	return nil
}

// readLast reads the record before offset next.
func (w *walker) readLast(ctx context.Context, p Partition, next int64) (last lastRecord, err error) {
	ctx, cancel := context.WithTimeout(ctx, readBackTimeout)
	defer cancel()
	err = p.ReadRange(ctx, next-1, next, func(m log.Message) error {
		last = w.filters.recordOf(m)
		return nil
	})
	if err != nil {
		return last, fmt.Errorf("read the last record that was walked: %w", err)
	}
	return last, nil
}

// keepFilter ends the walker's part: its filter is kept if it is complete and it is known up to which record.
func (w *walker) keepFilter() {
	if w.table == nil || w.last.next == 0 {
		w.forgetFilter()
		return
	}
	w.table.Forget()
	w.updateGauge()
	w.filters.put(w.id, &kept{table: w.table, bytes: w.gauge, last: w.last})
	w.table, w.gauge = nil, 0
}

// forgetFilter gives the filter's memory back.
func (w *walker) forgetFilter() {
	w.metrics.filterBytes.Sub(float64(w.gauge))
	w.table, w.gauge, w.last = nil, 0, lastRecord{}
}
