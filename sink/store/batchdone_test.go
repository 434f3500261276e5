package store

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"countersign/internal/testseed"
	"countersign/pipeline/record"
)

// The rule of when a batch is done stands in Go once, record.BatchState, and once more in SQL, in view v_batch_results.
// All reads agree with it, with rows that are there several times, for batches in every state.
func TestBatchesAreDoneWhenTheRuleSaysSo(t *testing.T) {
	db := newDB(t)
	for _, table := range []string{"outcomes", "exceptions", "signatures"} {
		if err := db.conn.Exec(t.Context(), "SYSTEM STOP MERGES "+table); err != nil {
			t.Fatal(err)
		}
	}
	const batches = 300
	random := testseed.Rand(t)
	accepted := time.Now().UnixMilli() // results expire
	want := map[uint32]record.BatchState{}
	var rows []ResultRow
	for batch := uint32(1); batch <= batches; batch++ {
		state, those := randomBatch(random, ResultRow{Upload: uploadOf(1), Batch: batch, AcceptedAt: accepted})
		if len(those) > 0 {
			want[batch] = state
		}
		rows = append(rows, those...)
	}
	random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	for len(rows) > 0 { // in several parts, so that copies of a row lie in different ones
		n := min(len(rows), 1+random.IntN(len(rows)))
		if err := errors.Join(db.InsertAdded(t.Context(), rows[:n]), db.InsertResults(t.Context(), rows[:n])); err != nil {
			t.Fatal(err)
		}
		rows = rows[n:]
	}

	progress, err := db.Progress(t.Context(), uploadOf(1))
	if err != nil {
		t.Fatal(err)
	}
	view := doneByTheView(t, db)
	if len(progress) != len(want) || len(view) != len(want) {
		t.Fatalf("Progress has %d batches, the view %d, want %d", len(progress), len(view), len(want))
	}
	seen := map[bool]int{}
	for _, p := range progress {
		done := want[p.Batch].Done()
		seen[done]++
		details, found, err := db.Batch(t.Context(), uploadOf(1), p.Batch)
		if err != nil || !found {
			t.Fatal(found, err)
		}
		if p.Done != done || details.Done != done || view[p.Batch] != done {
			t.Errorf("batch %d is %+v; Progress says done %v, Batch %v, the view %v",
				p.Batch, want[p.Batch], p.Done, details.Done, view[p.Batch])
		}
	}
	if seen[true] < batches/10 || seen[false] < batches/10 {
		t.Errorf("%d batches were done and %d were not: too few to say much", seen[true], seen[false])
	}
}

// randomBatch makes the rows of a batch, each up to three times, and says what they come to. Some batches have no row.
// The model counts while it makes the rows, and shares no code with what reads them.
func randomBatch(random *rand.Rand, key ResultRow) (state record.BatchState, rows []ResultRow) {
	add := func(r ResultRow) {
		for range 1 + random.IntN(3) {
			rows = append(rows, r)
		}
	}
	next := 0
	some := func(n int) Entries { // each index once
		e := someEntries(n)
		for i := range e.Indexes {
			e.Indexes[i] = uint16(next)
			next++
		}
		return e
	}
	most := 3 * random.IntN(2) // in half of the batches, shards tell of no pair at all
	for shard := range int32(random.IntN(3)) {
		for part := range uint32(1 + random.IntN(2)) {
			r := key
			r.Shard, r.Part = shard, part
			r.Added, r.Duplicates = some(random.IntN(most+1)), some(random.IntN(most+1))
			state.Resolved += uint64(r.Added.Len() + r.Duplicates.Len())
			add(r)
		}
	}
	outcome := key
	outcome.Shard = record.OutcomeShard
	outcome.BadSignatures = someEntries(random.IntN(2))
	switch random.IntN(4) {
	case 0: // not verified yet
		return state, rows
	case 1: // another number, most often
		outcome.Claims = uint32(random.IntN(8))
	default:
		outcome.Claims = uint32(state.Resolved)
	}
	state.Decided, state.Claims = true, uint64(outcome.Claims)
	add(outcome)
	return state, rows
}

func someEntries(n int) (e Entries) {
	for i := range n {
		hash := hashOf(i)
		e.Hashes = append(e.Hashes, hash[:]...)
		e.Indexes = append(e.Indexes, uint16(i))
	}
	return e
}

func doneByTheView(t *testing.T, db *DB) map[uint32]bool {
	t.Helper()
	rows, err := db.conn.Query(t.Context(), "SELECT batch, done FROM v_batch_results")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[uint32]bool{}
	for rows.Next() {
		var batch uint32
		var done uint8
		if err := rows.Scan(&batch, &done); err != nil {
			t.Fatal(err)
		}
		all[batch] = done != 0
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
