package sink

import (
	"time"

	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// A flush is what is written together: rows of all tables, and what is to be done once they are stored. doc.go draws
// its life. Rows are copied into its columns once, by the shard that made them, under the queue's lock: a record takes
// about 0.1 ms. Rejected: columns that are built by each shard and merged by the writer, which is a second copy; a lock
// for each set of columns, which buys nothing with one writer.

// flush belongs to the queue, and is guarded by its lock, until it is dequeued. Then the writer has it for itself.
type flush struct {
	hashes       store.HashRows
	results      []store.ResultRow
	uploads      []store.Upload
	certificates []store.Certificate
	events       []*recordpb.Event // that leave once all is stored
	marks        []mark
	bytes        int64 // of its records and its columns
	begun        time.Time
	awaited      bool // somebody waits for rows of it, so it doesn't linger
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
	spareRows      = 1 << 16                             // columns larger than this aren't kept
)

// add appends a record's rows and returns the memory that they take beyond the record.
func (f *flush) add(s *shard, next, size int64, r *rows) (grown int64) {
	before, results := f.hashes.Len(), len(f.results)
	for i := range r.claims {
		c := &r.claims[i]
		appendHashes(&f.hashes, c.Claims, c.verdicts)
		f.results = append(f.results, c.result)
	}
	f.results = append(f.results, r.outcomes...)
	f.uploads = append(f.uploads, r.uploads...)
	f.certificates = append(f.certificates, r.certificates...)
	f.events = append(f.events, r.events...)
	f.awaited = f.awaited || !r.deferrable
	added := f.hashes.Len() - before
	f.mark(s, next, added, r.announced)
	grown = int64(added)*hashRowBytes + int64(len(f.results)-results)*resultRowBytes
	f.bytes += size + grown
	return grown
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
	h := &f.hashes
	clear(h.Site)
	clear(h.Algorithm)
	clear(h.Signature)
	clear(f.results)
	clear(f.uploads)
	clear(f.certificates)
	clear(f.events)
	clear(f.marks)
	*f = flush{
		hashes: store.HashRows{
			Hash: h.Hash[:0], Upload: h.Upload[:0], Position: h.Position[:0], Site: h.Site[:0], SignedAt: h.SignedAt[:0],
			Algorithm: h.Algorithm[:0], Signature: h.Signature[:0], Certificate: h.Certificate[:0],
			Upper: h.Upper[:0],
		},
		results: f.results[:0], uploads: f.uploads[:0], certificates: f.certificates[:0],
		events: f.events[:0], marks: f.marks[:0],
	}
}
