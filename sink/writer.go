package sink

// The one goroutine that writes.

import (
	"context"
	"sync"
)

// mostPerInsert bounds one insert of signatures: some 40 MB with RSA-2048, of which two are not merged any more
// (schema/007_by_arrival.sql).
const mostPerInsert = 131_072

// leastPerInsert is what makes it worth to split an insert: smaller ones would only make more parts to merge.
const leastPerInsert = 32_768

// rowsPerInsert cuts n rows into inserts of equal size. ClickHouse writes an insert on one core. While nothing waits
// behind, somebody waits for these rows and a core is free, so they go out as two at once. Under load, fewer and larger
// parts are worth more.
func rowsPerInsert(n int, behind bool) int {
	parts := max(1, (n+mostPerInsert-1)/mostPerInsert)
	if n > leastPerInsert && !behind {
		parts = max(parts, 2)
	}
	return (n + parts - 1) / parts
}

// write stores flush after flush when they are due, in their order and one at a time, until ctx ends.
func (st *stage) write(ctx context.Context) {
	defer close(st.written)
	for {
		f := st.flushes.dequeue(ctx)
		if f == nil {
			return
		}
		start := st.Clock()
		if !st.store(ctx, f) {
			return
		}
		st.metrics.flushed(f, st.Clock().Sub(start))
		st.announce(f.events, false)
		for _, m := range f.marks {
			m.shard.stored(m)
		}
		st.flushes.release(f)
	}
}

// store inserts a flush; false means that ctx ended. It takes three steps, so that nothing is there before what it leads
// to: whoever finds an owner finds its signature, and whoever sees a batch done finds its owners, its signatures and its
// exceptions. A process that dies between two steps leaves rows that the next one writes again, and no others: all of
// them are decided by the log. A step without rows takes no time.
func (st *stage) store(ctx context.Context, f *flush) bool {
	steps := [3][]func() error{}
	insert := func(step, n int, table string, do func() error) {
		if n > 0 {
			steps[step] = append(steps[step], func() error { return st.retry(ctx, "inserting "+table, do) })
		}
	}
	hashes := f.hashes.Len()
	for from, n := 0, rowsPerInsert(hashes, st.flushes.anyWaits()); from < hashes; from += n {
		part := f.hashes.Slice(from, min(from+n, hashes))
		insert(0, part.Len(), "signatures", func() error { return st.Store.InsertSignatures(ctx, part) })
	}
	insert(0, len(f.uploads), "uploads", func() error { return st.Store.InsertUploads(ctx, f.uploads) })
	insert(0, len(f.certificates), "certificates", func() error { return st.Store.InsertCertificates(ctx, f.certificates) })
	insert(0, len(f.exceptions), "exceptions", func() error { return st.Store.InsertExceptions(ctx, f.exceptions) })
	insert(0, f.cosigned.Len(), "cosigners", func() error { return st.Store.InsertCosigners(ctx, &f.cosigned) })
	insert(1, hashes, "owners", func() error { return st.Store.InsertOwners(ctx, &f.hashes) })
	insert(2, len(f.results), "outcomes", func() error { return st.Store.InsertOutcomes(ctx, f.results) })
	for _, step := range steps {
		if !allDone(step) {
			return false
		}
	}
	return true
}

// allDone runs all at once and reports whether none failed.
func allDone(all []func() error) bool {
	if len(all) == 0 {
		return true
	}
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i := range all[1:] {
		wg.Go(func() { errs[i+1] = all[i+1]() })
	}
	errs[0] = all[0]()
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return false
		}
	}
	return true
}
