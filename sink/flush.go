package sink

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"countersign/pipeline/record/recordpb"
	"countersign/sink/dedupe"
	"countersign/sink/store"
)

// A flush is what is written together: rows of all tables, and what is to be done once they are stored. doc.go draws
// its life. Rows are copied into its columns once, by the shard that made them, under the queue's lock: a record takes
// about 0.1 ms. Rejected: columns that are built by each shard and merged by the writer, which is a second copy; a lock
// for each set of columns, which buys nothing with one writer.

// flush belongs to the queue, and is guarded by its lock, until it is dequeued. Then the writer has it for itself.
type flush struct {
	hashes       store.HashRows    // that were added: signatures and owners
	cosigned     store.HashRows    // of other sites than the owners'
	results      []store.ResultRow // outcomes
	exceptions   []store.ResultRow // those of results that name pairs which were not added
	uploads      []store.Upload
	certificates []store.Certificate
	events       []*recordpb.Event // that leave once all is stored
	marks        []mark
	bytes        int64                // of its records and its columns
	keys         map[partKey]struct{} // of the results of the record that is being added
	begun        time.Time
	started      time.Time           // when it was dequeued
	awaited      bool                // somebody waits for rows of it, so it doesn't linger
	continued    map[*shard]struct{} // whose last record here is full, so that more of the same comes at once
}

// mark says how far a shard's log is done once the flush is stored.
type mark struct {
	shard     *shard
	next      int64 // offset
	rows      int   // of hashes
	announced int   // hashes that were announced early
	records   int
}

const (
	hashRowBytes   = 32 + 16 + 4 + 16 + 8 + 16 + 24 + 32 // of the columns; the signature itself is the record's
	resultRowBytes = 400                                 // roughly, with its indexes
	spareRows      = 1 << 17                             // columns larger than this aren't kept: some 20 MB
)

// add appends a record's rows and returns the memory that they take beyond the record.
func (f *flush) add(s *shard, next, size int64, r *rows) (grown int64) {
	before, cosigned, results := f.hashes.Len(), f.cosigned.Len(), len(f.results)
	for i := range r.claims {
		c := &r.claims[i]
		appendHashes(&f.hashes, c.Claims, c.verdicts, dedupe.Added)
		if slices.Contains(c.verdicts, dedupe.Cosigned) {
			appendHashes(&f.cosigned, c.Claims, c.verdicts, dedupe.Cosigned)
		}
		f.addResult(&c.result)
	}
	for i := range r.outcomes {
		f.addResult(&r.outcomes[i])
	}
	clear(f.keys)
	for i := results; i < len(f.results); i++ {
		if f.results[i].IsException() {
			f.exceptions = append(f.exceptions, f.results[i])
		}
	}
	f.uploads = append(f.uploads, r.uploads...)
	f.certificates = append(f.certificates, r.certificates...)
	f.events = append(f.events, r.events...)
	f.awaited = f.awaited || !r.deferrable
	if f.continued == nil {
		f.continued = make(map[*shard]struct{})
	}
	if delete(f.continued, s); size >= s.FullRecord {
		f.continued[s] = struct{}{}
	}
	added := f.hashes.Len() - before
	f.mark(s, next, added, r.announced)
	grown = int64(added+f.cosigned.Len()-cosigned)*hashRowBytes + int64(len(f.results)-results)*resultRowBytes
	f.bytes += size + grown
	return grown
}

// partKey is the key of a result.
type partKey struct {
	upload      uuid.UUID
	batch, part uint32
	shard       int32
}

// addResult appends a result, unless its record has one of the same key before. That is so where an upload was sent
// twice under one Idempotency-Key, and both were verified together. The store keeps the result of the lowest offset,
// and of one offset it couldn't tell which was the first: the one with the time under which the signatures are stored.
func (f *flush) addResult(r *store.ResultRow) {
	key := partKey{r.Upload, r.Batch, r.Part, r.Shard}
	if _, repeated := f.keys[key]; repeated {
		return
	}
	if f.keys == nil {
		f.keys = make(map[partKey]struct{})
	}
	f.keys[key] = struct{}{}
	f.results = append(f.results, *r)
}

func (f *flush) mark(s *shard, next int64, rows, announced int) {
	if n := len(f.marks); n == 0 || f.marks[n-1].shard != s {
		f.marks = append(f.marks, mark{shard: s})
	}
	m := &f.marks[len(f.marks)-1]
	m.next = next
	m.rows += rows
	m.announced += announced
	m.records++
}

// reset empties f and lets go of the records that it points into.
func (f *flush) reset() {
	f.hashes.Reset()
	f.cosigned.Reset()
	clear(f.results)
	clear(f.exceptions)
	clear(f.uploads)
	clear(f.certificates)
	clear(f.events)
	clear(f.marks)
	clear(f.continued)
	*f = flush{
		hashes: f.hashes, cosigned: f.cosigned, keys: f.keys, continued: f.continued,
		results: f.results[:0], exceptions: f.exceptions[:0], uploads: f.uploads[:0], certificates: f.certificates[:0],
		events: f.events[:0], marks: f.marks[:0],
	}
}
