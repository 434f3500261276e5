package sink

// The one goroutine that writes.

import (
	"context"
	"sync"
)

// hashesPerInsert bounds one insert of hashes: ClickHouse sorts and writes an insert on one core, so a large flush goes
// out as several at once. Smaller ones would only make more parts to merge.
const hashesPerInsert = 32_768

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

// store inserts a flush; false means that ctx ended. Results are inserted after the hashes, so that whoever sees a
// batch done finds its hashes. A flush without hashes (outcomes of verifying, duplicates of what earlier flushes
// stored) is one step.
func (st *stage) store(ctx context.Context, f *flush) bool {
	steps := [2][]func() error{}
	insert := func(step, n int, what string, do func() error) {
		if n > 0 {
			steps[step] = append(steps[step], func() error { return st.retry(ctx, what, do) })
		}
	}
	afterHashes := min(f.hashes.Len(), 1)
	for from := 0; from < f.hashes.Len(); from += hashesPerInsert {
		part := f.hashes.Slice(from, min(from+hashesPerInsert, f.hashes.Len()))
		insert(0, part.Len(), "inserting hashes", func() error { return st.Store.InsertHashes(ctx, part) })
	}
	insert(0, len(f.uploads), "inserting uploads", func() error { return st.Store.InsertUploads(ctx, f.uploads) })
	insert(0, len(f.certificates), "inserting certificates", func() error {
		return st.Store.InsertCertificates(ctx, f.certificates)
	})
	insert(afterHashes, len(f.results), "inserting batch results", func() error {
		return st.Store.InsertResults(ctx, f.results)
	})
	return allDone(steps[0]) && allDone(steps[1])
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
