package sink

// The goroutines that write. Two flushes may be under way: one goroutine inserts the signatures of a flush, and the
// other one then inserts what leads to them and finishes the flush. Each takes flushes in their order. An insert is
// work of one core in ClickHouse, and a wait for the disk, so both together take little longer than the longer of them.

import (
	"context"
	"sync"
)

// mostPerInsert bounds one insert of signatures: some 40 MB with RSA-2048, of which two are not merged any more
// (schema/007_by_arrival.sql).
const mostPerInsert = 131_072

// rowsPerInsert cuts n rows into inserts of equal size. ClickHouse writes an insert on one core. While nothing comes
// behind, somebody waits for these rows and a core is free, so they go out as two at once. Otherwise fewer and larger
// parts are worth more.
func (st *stage) rowsPerInsert(n int, behind bool) int {
	parts := max(1, (n+mostPerInsert-1)/mostPerInsert)
	if n > st.LeastInsert && !behind {
		parts = max(parts, 2)
	}
	return (n + parts - 1) / parts
}

// write stores flush after flush when they are due, in their order, until ctx ends.
//
// A flush takes three steps, so that nothing is there before what it leads to: whoever finds an owner finds its
// signature, and whoever sees a batch done finds its owners, its signatures and its exceptions. A process that dies
// between two steps leaves rows that the next one writes again, and no others: all of them are decided by the log. So
// nothing is wrong, either, when the first step of a flush is done before the last ones of the flush before.
func (st *stage) write(ctx context.Context) {
	defer close(st.written)
	begun := make(chan *flush) // unbuffered: nothing waits between the two goroutines
	var finishing sync.WaitGroup
	finishing.Go(func() { st.finish(ctx, begun) })
	defer finishing.Wait()
	defer close(begun)
	for {
		f := st.flushes.dequeue(ctx)
		if f == nil {
			return
		}
		f.started = st.Clock()
		if !st.storeDetails(ctx, f) {
			return
		}
		select {
		case begun <- f:
		case <-ctx.Done():
			return
		}
	}
}

// finish takes the last two steps of flushes whose first one is taken, until begun is closed or ctx ends.
func (st *stage) finish(ctx context.Context, begun <-chan *flush) {
	for f := range begun {
		owners := st.inserting(ctx, f.hashes.Len(), "owners", func() error { return st.Store.InsertOwners(ctx, &f.hashes) })
		outcomes := st.inserting(ctx, len(f.results), "outcomes", func() error { return st.Store.InsertOutcomes(ctx, f.results) })
		if owners() != nil || outcomes() != nil {
			return
		}
		st.metrics.flushed(f, st.Clock().Sub(f.started))
		st.announce(f.events, false)
		for _, m := range f.marks {
			m.shard.stored(m)
		}
		st.flushes.release(f)
	}
}

// storeDetails takes the first step of a flush: all that owners and outcomes lead to, at once. False means that ctx
// ended.
func (st *stage) storeDetails(ctx context.Context, f *flush) bool {
	var all []func() error
	insert := func(n int, table string, do func() error) {
		if n > 0 {
			all = append(all, st.inserting(ctx, n, table, do))
		}
	}
	hashes := f.hashes.Len()
	for from, n := 0, st.rowsPerInsert(hashes, len(f.continued) > 0 || st.flushes.anyWaits()); from < hashes; from += n {
		part := f.hashes.Slice(from, min(from+n, hashes))
		insert(part.Len(), "signatures", func() error { return st.Store.InsertSignatures(ctx, part) })
	}
	insert(len(f.uploads), "uploads", func() error { return st.Store.InsertUploads(ctx, f.uploads) })
	insert(len(f.certificates), "certificates", func() error { return st.Store.InsertCertificates(ctx, f.certificates) })
	insert(len(f.exceptions), "exceptions", func() error { return st.Store.InsertExceptions(ctx, f.exceptions) })
	insert(f.cosigned.Len(), "cosigners", func() error { return st.Store.InsertCosigners(ctx, &f.cosigned) })
	return allDone(all)
}

// inserting returns what inserts n rows, until it succeeds or ctx ends, which is its only error. No rows take no time.
func (st *stage) inserting(ctx context.Context, n int, table string, do func() error) func() error {
	return func() error {
		if n == 0 {
			return nil
		}
		return st.retry(ctx, "inserting "+table, do)
	}
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
