package sink

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// The fakes check the stage's promises whenever they are called: rows never contradict rows, results come after their
// hashes, events after their results or what decides them, commits after all rows below them, and no commit after the
// assignment ended.

// fault is how a call to the store goes wrong.
type fault int

const (
	works fault = iota
	fails
	failsButStored
)

var errInjected = errors.New("injected")

type hashRow struct {
	upload      uuid.UUID
	position    uint32
	site        string
	signedAt    int64
	algorithm   string
	signature   string
	certificate [32]byte
	upper       bool
}

type resultKey struct {
	upload uuid.UUID
	batch  uint32
	shard  int32
	part   uint32
}

// cosignerKey is the key of table cosigners.
type cosignerKey struct {
	hash [32]byte
	site string
}

func keyOf(r *store.ResultRow) resultKey {
	return resultKey{r.Upload, r.Batch, r.Shard, r.Part}
}

// world is what outlives a process: ClickHouse, Kafka, and the list of broken promises.
type world struct {
	mu           sync.Mutex
	signatures   map[[32]byte]hashRow // of hashes: a hash has one
	hashes       map[[32]byte]hashRow // that have an owner
	cosigners    map[cosignerKey]hashRow
	exceptions   map[resultKey]store.ResultRow
	results      map[resultKey]store.ResultRow // outcomes
	uploads      map[uuid.UUID]store.Upload
	certificates []store.Certificate
	log          [][]log.Message // by partition
	first        []int64         // oldest offset that retention has left, by partition
	committed    []int64         // by partition
	changed      chan struct{}   // closed and replaced when log or committed changed
	durable      []int64         // log flushed up to, by partition
	events       []*recordpb.Event
	announced    map[[32]byte]bool // hashes that events brought
	last         *verdict          // the last that was asked for
	letters      []*recordpb.DeadLetter
	calls        []string // every call that did something, in order
	broken       []string

	perFetch int                                       // records; 0: all
	fault    func(call string) fault                   // may be nil; called under mu
	before   func(ctx context.Context, call string)    // may be nil; may block
	asking   func(ctx context.Context, hashes int)     // before a lookup; may be nil; may block
	sends    func(ctx context.Context, t string) error // may be nil
}

func newWorld(shards int) *world {
	return &world{
		signatures: map[[32]byte]hashRow{}, hashes: map[[32]byte]hashRow{}, cosigners: map[cosignerKey]hashRow{},
		exceptions: map[resultKey]store.ResultRow{}, results: map[resultKey]store.ResultRow{}, uploads: map[uuid.UUID]store.Upload{},
		log: make([][]log.Message, shards), first: make([]int64, shards), committed: make([]int64, shards), durable: make([]int64, shards),
		announced: map[[32]byte]bool{}, changed: make(chan struct{}),
	}
}

func (w *world) breaks(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

func (w *world) change() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// wake makes those who await look again.
func (w *world) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change()
}

// produce appends a record to a partition.
func (w *world) produce(partition int, value []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log[partition] = append(w.log[partition], log.Message{
		Partition: partition, Offset: int64(len(w.log[partition])), Time: time.Now(), Value: value})
	w.change()
}

// await waits until cond, which is called under mu whenever something changed; false after a minute.
func (w *world) await(cond func() bool) bool {
	deadline := time.After(time.Minute)
	for {
		w.mu.Lock()
		ok, changed := cond(), w.changed
		w.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-deadline:
			return false
		}
	}
}

// drained is a condition for await: everything is committed.
func (w *world) drained() bool {
	for p := range w.log {
		if w.committed[p] < int64(len(w.log[p])) {
			return false
		}
	}
	return true
}

// config is the stage's environment in w, with all waits cut short. It consumes the given partitions.
func (w *world) config(partitions ...int) Config {
	return Config{
		Store: w, Send: w.send, FlushLog: w.flushLog, Shards: len(w.log), Linger: time.Millisecond,
		Consume:      func(ctx context.Context, handle handler) error { return w.consume(ctx, handle, partitions) },
		Backoff:      func(int) time.Duration { return 50 * time.Microsecond },
		DrainTimeout: 5 * time.Second,
	}
}

type handler = func(context.Context, Partition) error

func (w *world) consume(ctx context.Context, handle handler, partitions []int) error {
	var wg sync.WaitGroup
	for _, id := range partitions {
		wg.Go(func() { w.assign(ctx, handle, id) })
	}
	wg.Wait()
	return nil
}

// assign runs a handle for one assignment.
func (w *world) assign(ctx context.Context, handle handler, id int) {
	w.mu.Lock()
	p := &partition{w: w, id: id, start: w.committed[id], next: w.committed[id]}
	w.mu.Unlock()
	err := handle(ctx, p)
	w.mu.Lock()
	defer w.mu.Unlock()
	p.over = true
	if ctx.Err() == nil || err != nil {
		w.breaks("handle of %d returned %v while its context is %v", id, err, ctx.Err())
	}
}

type partition struct {
	w     *world
	id    int
	start int64
	next  int64
	last  int64 // committed in this assignment
	over  bool
}

func (p *partition) ID() int      { return p.id }
func (p *partition) Start() int64 { return p.start }

func (p *partition) Fetch(ctx context.Context) ([]log.Message, error) {
	for {
		p.w.mu.Lock()
		log, changed := p.w.log[p.id][p.next:], p.w.changed
		if n := p.w.perFetch; n > 0 {
			log = log[:min(n, len(log))]
		}
		p.next += int64(len(log))
		p.w.mu.Unlock()
		if len(log) > 0 {
			out := slices.Clone(log)
			for i := range out {
				out[i].Value = bytes.Clone(out[i].Value) // the receiver's to keep
			}
			return out, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *partition) ReadRange(ctx context.Context, from, to int64, fn func(log.Message) error) error {
	if from >= to {
		return nil
	}
	p.w.mu.Lock()
	held := slices.Clone(p.w.log[p.id])
	first := p.w.first[p.id]
	p.w.mu.Unlock()
	if from < first || from > int64(len(held)) {
		return log.ErrOffsetGone
	}
	for _, m := range held[from:min(to, int64(len(held)))] {
		if err := fn(m); err != nil {
			return err
		}
	}
	if to > int64(len(held)) {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (p *partition) Commit(next int64) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, fmt.Sprintf("commit %d/%d", p.id, next))
	if p.over {
		w.breaks("commit of %d/%d after the assignment ended", p.id, next)
	}
	if next < p.last {
		w.breaks("commit of %d/%d after %d", p.id, next, p.last)
	}
	p.last = next
	for _, m := range w.log[p.id][:next] {
		w.checkStored(m)
	}
	w.committed[p.id] = max(w.committed[p.id], next)
	w.change()
}

// call runs one call to the store, with the fault that is due.
func (w *world) call(ctx context.Context, name string, rows int, do func()) error {
	if w.before != nil {
		w.before(ctx, name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := works
	if w.fault != nil {
		f = w.fault(name)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if f != fails {
		w.calls = append(w.calls, fmt.Sprintf("%s %d", name, rows))
		do()
		w.change()
	}
	if f != works {
		return fmt.Errorf("%s: %w: %w", name, store.ErrUnavailable, errInjected)
	}
	return nil
}

func (w *world) InsertSignatures(ctx context.Context, r *store.HashRows) error {
	return w.insertHashes(ctx, "signatures", r, func(hash [32]byte, row hashRow) {
		if was, ok := w.signatures[hash]; ok && was != row {
			w.breaks("signature of %x stored as %v and again as %v", hash[:4], was, row)
		}
		w.signatures[hash] = row
	})
}

func (w *world) InsertOwners(ctx context.Context, r *store.HashRows) error {
	return w.insertHashes(ctx, "owners", r, func(hash [32]byte, row hashRow) {
		if was, ok := w.hashes[hash]; ok && was != row {
			w.breaks("owner of %x stored as %v and again as %v", hash[:4], was, row)
		}
		if w.signatures[hash] != row {
			w.breaks("owner of %x stored, whose signature isn't", hash[:4])
		}
		w.hashes[hash] = row
	})
}

// InsertCosigners keeps the earliest row of a key, as the table does.
func (w *world) InsertCosigners(ctx context.Context, r *store.HashRows) error {
	return w.insertHashes(ctx, "cosigners", r, func(hash [32]byte, row hashRow) {
		key := cosignerKey{hash, row.site}
		if was, ok := w.cosigners[key]; !ok || row.before(was) {
			w.cosigners[key] = row
		}
	})
}

// before orders the rows of a cosigner; two rows of one time may come in any order.
func (r hashRow) before(other hashRow) bool {
	return cmp.Or(cmp.Compare(r.signedAt, other.signedAt), bytes.Compare(r.upload[:], other.upload[:]), cmp.Compare(r.position, other.position)) < 0
}

func (w *world) insertHashes(ctx context.Context, table string, r *store.HashRows, add func([32]byte, hashRow)) error {
	n := len(r.Upload)
	return w.call(ctx, table, n, func() {
		if len(r.Hash) != 32*n || len(r.Position) != n || len(r.Site) != n || len(r.SignedAt) != n || len(r.Algorithm) != n ||
			len(r.Signature) != n || len(r.Certificate) != n || len(r.Upper) != n {
			w.breaks("columns of unequal length")
			return
		}
		for i := range n {
			add([32]byte(r.Hash[32*i:]), hashRow{r.Upload[i], r.Position[i], r.Site[i], r.SignedAt[i], r.Algorithm[i],
				string(r.Signature[i]), r.Certificate[i], r.Upper[i]})
		}
	})
}

func (w *world) InsertExceptions(ctx context.Context, rows []store.ResultRow) error {
	return w.call(ctx, "exceptions", len(rows), func() {
		for _, r := range rows {
			if !r.IsException() {
				w.breaks("a row of exceptions without any: %+v", r)
			}
			w.insertResult(w.exceptions, r)
		}
	})
}

func (w *world) InsertOutcomes(ctx context.Context, rows []store.ResultRow) error {
	return w.call(ctx, "outcomes", len(rows), func() {
		for _, r := range rows {
			w.insertResult(w.results, r)
			w.checkCounted(&r)
		}
	})
}

// insertResult keeps the row of the record that is first in the log, as the table of outcomes does; of one record's rows
// it could keep any. Copies of a row are the same, but for the time of an upload that was sent twice under one key.
func (w *world) insertResult(into map[resultKey]store.ResultRow, r store.ResultRow) {
	r = cloneResult(r)
	was, ok := into[keyOf(&r)]
	kept := r
	if ok && was.LogOffset < r.LogOffset {
		kept = was
	}
	if ok {
		if was.LogOffset != r.LogOffset {
			r.LogOffset, r.AcceptedAt = was.LogOffset, was.AcceptedAt
		}
		if !reflect.DeepEqual(was, r) {
			w.breaks("result stored as %+v and again as %+v", was, r)
		}
	}
	into[keyOf(&r)] = kept
}

func (w *world) InsertUploads(ctx context.Context, rows []store.Upload) error {
	return w.call(ctx, "uploads", len(rows), func() {
		for _, u := range rows {
			w.uploads[u.ID] = u
		}
	})
}

func (w *world) InsertCertificates(ctx context.Context, rows []store.Certificate) error {
	return w.call(ctx, "certificates", len(rows), func() { w.certificates = append(w.certificates, rows...) })
}

func (w *world) Owners(ctx context.Context, hashes []byte, into map[[32]byte]store.Owner) error {
	if w.asking != nil {
		w.asking(ctx, len(hashes)/32)
	}
	return w.call(ctx, "lookup", len(hashes)/32, func() {
		for ; len(hashes) > 0; hashes = hashes[32:] {
			if r, ok := w.hashes[[32]byte(hashes)]; ok {
				into[[32]byte(hashes)] = store.Owner{Upload: r.upload, Position: r.position, Site: r.site}
			}
		}
	})
}

func (w *world) CountHashes(ctx context.Context, shard, shards int) (n uint64, err error) {
	err = w.call(ctx, "count", 0, func() { n = uint64(len(w.hashes)) })
	return n, err
}

func (w *world) ScanHashes(ctx context.Context, shard, shards int, fn func([]byte) error) error {
	var failed error
	err := w.call(ctx, "scan", 0, func() {
		for h := range w.hashes {
			if record.Shard(h[:], shards) == shard && failed == nil {
				failed = fn(h[:])
			}
		}
	})
	return errors.Join(failed, err)
}

// send is Config.Send: topics events and deadletter.
func (w *world) send(ctx context.Context, topic string, partition int, value []byte) error {
	if w.sends != nil {
		if err := w.sends(ctx, topic); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.change()
	if partition != 0 || len(value) > record.MaxBytes {
		w.breaks("%d bytes sent to %s/%d", len(value), topic, partition)
	}
	if topic == record.TopicDeadLetter {
		letter := new(recordpb.DeadLetter)
		if err := unmarshal(value, letter); err != nil {
			w.breaks("dead letter: %v", err)
		}
		w.letters = append(w.letters, letter)
		return nil
	}
	events, err := record.DecodeEvents(value)
	if err != nil {
		w.breaks("events: %v", err)
	}
	w.calls = append(w.calls, fmt.Sprintf("events %d", len(events.GetEvents())))
	for _, e := range events.GetEvents() {
		if _, ok := w.results[resultKey{uuid.UUID(e.Upload), e.Batch, e.Shard, e.Part}]; !ok {
			w.checkEarly(e)
		}
		if s := e.GetSigned(); s != nil {
			w.announced[[32]byte(s.Hash)] = true
		}
		w.events = append(w.events, e)
	}
	return nil
}

// flushLog is Config.FlushLog.
func (w *world) flushLog(ctx context.Context) error {
	return w.call(ctx, "flush", 0, func() {
		for p, log := range w.log {
			w.durable[p] = int64(len(log))
		}
	})
}

func cloneResult(r store.ResultRow) store.ResultRow {
	for _, e := range []*store.Entries{&r.Added, &r.Duplicates, &r.BadSignatures} {
		*e = store.Entries{Hashes: append([]byte(nil), e.Hashes...), Indexes: append([]uint16(nil), e.Indexes...),
			Upper: append([]byte(nil), e.Upper...)}
	}
	r.Errors = append([]store.Failure(nil), r.Errors...)
	r.Certificates = append([]store.CertificateCount(nil), r.Certificates...)
	return r
}
