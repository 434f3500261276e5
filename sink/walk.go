package sink

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/google/uuid"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/dedupe"
)

// Walking a shard's log. What was fetched since the last look is a run. A run is probed whole, looked up at once,
// resolved in order and queued record by record. Where many hashes must be looked up, the records before those that need
// it go first: new hashes don't wait for the look-up of somebody's duplicates that come behind them.

// maxRun is where a run stops growing: some 25,000 RSA claims. Larger ones would make lookups hardly cheaper, and the
// writer wait.
const maxRun = 8 << 20 // bytes

// walker is the goroutine that walks: its fields are its own.
type walker struct {
	*shard
	table *dedupe.Table
	last  lastRecord   // table has the hashes of all records up to it
	gauge int          // bytes of table, as the metric counts them
	seed  maphash.Seed // of the numbers that stand for sites in table

	// Of the run.
	run       []item
	size      int64             // bytes fetched
	newest    log.Message       // the last of the run
	ask       []byte            // hashes to look up
	early     []*recordpb.Event // to be announced before their rows are stored
	positions []uint32          // of one part of a batch
}

// item is one record of a run. A record that is left out has neither block nor outcomes.
type item struct {
	next     int64 // offset after it
	size     int64 // bytes fetched
	ask      int   // where its hashes end in walker.ask
	block    *recordpb.Block
	outcomes *recordpb.Outcomes
}

// deferrable reports whether nobody waits for the record's rows: it is of single signings alone. It must not bring
// certificates, either: a signature can be proved only with those.
func (it *item) deferrable() bool {
	for _, c := range it.block.GetClaims() {
		if !c.GetSingle() {
			return false
		}
	}
	for _, o := range it.outcomes.GetOutcomes() {
		if !o.GetSingle() {
			return false
		}
	}
	return len(it.outcomes.GetCertificates()) == 0
}

// load gets the table: the one that was kept since the shard was this process's before, or a new one.
func (w *walker) load(ctx context.Context, p Partition) error {
	w.seed = maphash.MakeSeed()
	if resumed, err := w.resume(ctx, p); resumed || err != nil {
		return err
	}
	return w.build(ctx, p)
}

// build builds the table. The committed offset was read before, so every row of the records below it is in what the
// scan finds. The rows of later records, which an older owner may be writing meanwhile, are decided anew by the walk,
// with the same result.
func (w *walker) build(ctx context.Context, p Partition) error {
	select {
	case w.loading <- struct{}{}:
		defer func() { <-w.loading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	start := w.Clock()
	// Only a filter whose last record is known can be kept; not knowing it costs nothing else.
	var last lastRecord
	if p.Start() > 0 {
		last, _ = w.readLast(ctx, p, p.Start())
	}
	var key [16]byte
	if _, err := io.ReadFull(w.Random, key[:]); err != nil {
		return fmt.Errorf("draw the filter's key: %w", err)
	}
	var loaded int
	var table *dedupe.Table
	err := w.retry(ctx, fmt.Sprintf("reading the hashes of shard %d", w.id), func() error {
		count, err := w.Store.CountHashes(ctx, w.id, w.Shards)
		if err != nil {
			return err
		}
		loaded = 0
		table = dedupe.New(dedupe.Config{ExpectedHashes: count, Key: key, Recent: max(0, w.RecentRows) / w.Shards})
		return w.Store.ScanHashes(ctx, w.id, w.Shards, func(hashes []byte) error {
			loaded += len(hashes) / dedupe.HashSize
			table.Load(hashes)
			return ctx.Err()
		})
	})
	if err != nil {
		return err
	}
	w.table, w.last = table, last
	w.updateGauge()
	w.metrics.filtersBuilt.Inc()
	w.Logger.Info("shard assigned", "shard", w.id, "offset", p.Start(), "hashes", loaded,
		"filter_bytes", w.gauge, "seconds", w.Clock().Sub(start).Seconds())
	return nil
}

// updateGauge brings the metric of the table's memory up to date.
func (w *walker) updateGauge() {
	now := w.table.Bytes()
	w.metrics.filterBytes.Add(float64(now - w.gauge))
	w.gauge = now
}

// walk resolves run after run until ctx ends.
func (w *walker) walk(ctx context.Context) error {
	for {
		select {
		case messages := <-w.fetched:
			w.startRun()
			w.extendRun(ctx, messages)
		case <-ctx.Done():
			return ctx.Err()
		}
		w.extendByWaiting(ctx)
		if err := w.resolveRun(ctx); err != nil {
			return err
		}
	}
}

func (w *walker) startRun() {
	w.table.Confirm(int(w.confirmed.Swap(0)))
	w.run, w.ask, w.size = w.run[:0], w.ask[:0], 0
}

// extendByWaiting adds what was fetched meanwhile to the run.
func (w *walker) extendByWaiting(ctx context.Context) {
	for w.size < maxRun {
		select {
		case messages := <-w.fetched:
			w.extendRun(ctx, messages)
		default:
			return
		}
	}
}

// extendRun decodes and probes messages.
func (w *walker) extendRun(ctx context.Context, messages []log.Message) {
	for _, m := range messages {
		it := w.decode(ctx, m)
		for _, c := range it.block.GetClaims() {
			w.ask = w.table.Probe(c.GetHashes(), w.ask)
		}
		it.ask = len(w.ask)
		w.run = append(w.run, it)
		w.size += it.size
		w.newest = m
	}
}

// resolveRun resolves the run, first what needs few look-ups.
func (w *walker) resolveRun(ctx context.Context) error {
	n, ask := w.prompt()
	if n > 0 {
		if err := w.resolvePart(ctx, w.run[:n], w.ask[:ask]); err != nil {
			return err
		}
	}
	if n < len(w.run) {
		if err := w.resolvePart(ctx, w.run[n:], w.ask[ask:]); err != nil {
			return err
		}
	}
	w.updateGauge()
	return nil
}

// prompt is how many records of the run, from the first, come to a question about few hashes, and where their hashes
// end.
func (w *walker) prompt() (records, ask int) {
	for _, it := range w.run {
		if it.ask > fewHashes*dedupe.HashSize {
			break
		}
		records, ask = records+1, it.ask
	}
	return records, ask
}

// resolvePart looks up what has to be for some records of the run, decides their claims and queues their rows.
func (w *walker) resolvePart(ctx context.Context, part []item, ask []byte) error {
	stored, err := w.lookUp(ctx, ask)
	if err != nil {
		return err
	}
	found := 0
	for i := range part {
		found += w.resolveRecord(&part[i], stored)
	}
	if len(w.run) > 0 {
		w.last, w.newest = w.filters.recordOf(w.newest), log.Message{}
	}
	w.announce(w.early, true)
	clear(w.early)
	w.early = w.early[:0]
	w.metrics.lookedUp(len(ask)/dedupe.HashSize, found)
	clear(part) // the records belong to the queue now
	w.flushes.signal()
	return nil
}

// resolveRecord resolves one record's claims, queues all of its rows, and returns how many of the claims were to stored
// hashes.
func (w *walker) resolveRecord(it *item, stored ownersOf) (found int) {
	out := rows{deferrable: it.deferrable() && w.mayAnnounce(len(it.block.GetClaims()))}
	for _, c := range it.block.GetClaims() {
		verdicts, n := w.resolve(c, stored)
		found += n
		out.claims = append(out.claims, resolved{c, verdicts, claimsResult(c, w.id, it.next-1, verdicts)})
		if w.table.MetUnconfirmed() {
			out.deferrable = false // "duplicate" must not be said of a hash that can't be found yet
		}
	}
	out.addOutcomes(it.outcomes, it.next-1)
	events := out.makeEvents(out.deferrable)
	if out.deferrable {
		for _, e := range events {
			if e.GetSigned() != nil {
				out.announced++
			}
		}
		w.announced.Add(int64(out.announced))
		w.early = append(w.early, events...)
	} else {
		out.events = events
	}
	w.unstored.Add(1)
	w.held.Add(-it.size)
	w.flushes.add(w.shard, it.next, it.size, &out)
	return found
}

// resolve decides the claims of one part of a batch in their order.
func (w *walker) resolve(c *recordpb.Claims, stored ownersOf) (verdicts []dedupe.Verdict, found int) {
	n := len(c.GetHashes()) / dedupe.HashSize
	w.positions = w.positions[:0]
	for i := range n {
		w.positions = append(w.positions, record.Position(c.GetBatch(), record.Uint16(c.GetIndexes(), i)))
	}
	var lookup func([]byte) (dedupe.Owner, bool)
	if len(stored) > 0 {
		lookup = func(hash []byte) (dedupe.Owner, bool) {
			owner, ok := stored[[dedupe.HashSize]byte(hash)]
			if !ok {
				return dedupe.Owner{}, false
			}
			found++
			return dedupe.Owner{Upload: owner.Upload, Position: owner.Position, Site: w.siteNumber(owner.Site)}, true
		}
	}
	site := w.siteNumber(c.GetSite())
	verdicts = w.table.Resolve(c.GetHashes(), uuid.UUID(c.GetUpload()), site, w.positions, lookup, make([]dedupe.Verdict, 0, n))
	w.metrics.count(verdicts)
	return verdicts, found
}

// siteNumber stands for a site in the table. Nobody who doesn't know the seed can make two sites have one number, and
// the worst that would come of it is a signature of another site that isn't kept.
func (w *walker) siteNumber(site string) uint64 { return maphash.String(w.seed, site) }

// decode reads a record. One that can't be read, or that another shard should have got, becomes a dead letter and an
// item without rows.
func (w *walker) decode(ctx context.Context, m log.Message) item {
	it := item{next: m.Offset + 1, size: int64(len(m.Value))}
	v, err := w.decodeValue(m.Value)
	if err != nil {
		w.sendDeadLetter(ctx, m.Offset, err)
		return it
	}
	it.block, it.outcomes = v.GetBlock(), v.GetOutcomes()
	return it
}

// decodeValue reads a record's value.
func (w *walker) decodeValue(value []byte) (*recordpb.Verified, error) {
	v, err := record.DecodeVerified(value)
	if err != nil {
		return nil, err
	}
	return v, w.checkShard(v.GetBlock())
}

// checkShard refuses claims of another shard: they could give a hash a second owner (I4).
func (w *walker) checkShard(b *recordpb.Block) error {
	for _, c := range b.GetClaims() {
		for h := c.GetHashes(); len(h) > 0; h = h[dedupe.HashSize:] {
			if want := record.Shard(h, w.Shards); want != w.id {
				return fmt.Errorf("holds a hash of shard %d of %d: the writer of the record counts the partitions of topic %s differently",
					want, w.Shards, record.TopicVerified)
			}
		}
	}
	return nil
}

// sendDeadLetter reports a record that is left out. It may fail: the log has the record in any case.
func (w *walker) sendDeadLetter(ctx context.Context, offset int64, reason error) {
	w.metrics.deadLetters.Inc()
	w.Logger.Error("record left out", "topic", record.TopicVerified, "partition", w.id, "offset", offset, "error", reason)
	ctx, cancel := context.WithTimeout(ctx, w.SendTimeout)
	defer cancel()
	letter := record.DeadLetter(record.TopicVerified, w.id, offset, reason)
	if err := w.Send(ctx, record.TopicDeadLetter, 0, letter); err != nil {
		w.Logger.Warn("dead letter not written", "partition", w.id, "offset", offset, "error", err)
	}
}
