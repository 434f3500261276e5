package store

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"countersign/internal/testseed"
)

// movesRows is the argument under which the test binary moves the rows of the database at the URL that follows.
const movesRows = "moves-rows"

const testMoveRows = 500

func moveRowsOf(url string) int {
	db, err := Open(context.Background(), Config{URL: url})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer db.Close()
	db.moveRows = testMoveRows
	db.MoveOldRows(context.Background())
	return 0
}

// oldDatabase is a store with rows of version 1: hashes of an old and a recent upload, some stored twice, and the
// results of the recent one.
func oldDatabase(t *testing.T, old, recent int) (db *DB, url string) {
	t.Helper()
	url = newDatabase(t)
	db = open(t, Config{URL: url})
	db.moveRows = testMoveRows
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	hour := time.Now().Add(-time.Hour).UnixMilli()
	const columns = "(hash, upload, position, site, signed_at, algorithm, signature, certificate, upper)"
	row := func(upload, from, n int, at int64) string {
		return fmt.Sprintf("INSERT INTO signed_hashes %s SELECT SHA256(reinterpretAsFixedString(toUInt64(number))), '%s', toUInt32(number - %d),"+
			" 'files.example.org', %s, 'RSA', toString(number), SHA256('leaf'), number %% 2 FROM numbers(%d, %d)", columns, uploadOf(upload), from, moment(at), from, n)
	}
	for _, statement := range []string{
		row(1, 0, old, 1_700_000_000_123), row(1, 0, 100, 1_700_000_000_123), row(2, old, recent, hour),
		fmt.Sprintf("INSERT INTO batch_results (upload, batch, shard, part, accepted_at, claims, added, duplicates, bad_signatures, errors,"+
			" bad_hashes, bad_indexes)"+
			" SELECT '%s', number + 1, s, 0, %s, if(s < 0, 1000, 0), if(s < 0, 0, least(1000, %d - number * 1000)), 0, if(s < 0, 2, 0), 0,"+
			" if(s < 0, [SHA256('x'), SHA256('y')], []), if(s < 0, [998, 999], [])"+
			" FROM numbers(%d) ARRAY JOIN [-1, 0] AS s", uploadOf(2), moment(hour), recent, (recent+999)/1000),
	} {
		if err := db.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	err := db.InsertUploads(t.Context(), []Upload{{uploadOf(1), "files.example.org", uint64(old), 1_700_000_000_123},
		{uploadOf(2), "files.example.org", uint64(recent), hour}})
	if err != nil {
		t.Fatal(err)
	}
	return db, url
}

// count runs a query that counts.
func (db *DB) count(ctx context.Context, query string) (n uint64, err error) {
	err = db.Select(ctx, query, func(scan func(...any) error) error { return scan(&n) })
	return n, err
}

// Rows of version 1 move while the process that moves them is killed again and again. At any time each hash has its
// owner and its signature, and the view has each row once.
func TestOldRowsMoveWhileTheMoverIsKilled(t *testing.T) {
	const old, recent = 6500, 1500
	db, url := oldDatabase(t, old, recent)
	random := testseed.Rand(t)
	check := func() {
		t.Helper()
		var asked []byte
		var some [][32]byte
		for range 50 {
			hash := hashOf(random.IntN(old + recent))
			asked, some = append(asked, hash[:]...), append(some, hash)
		}
		owners := map[[32]byte]Owner{}
		if err := db.Owners(t.Context(), asked, owners); err != nil {
			t.Fatal(err)
		}
		signed, err := db.Hashes(t.Context(), some)
		if err != nil {
			t.Fatal(err)
		}
		for _, hash := range some {
			if _, ok := owners[hash]; !ok || len(signed[hash].Signature) == 0 {
				t.Fatalf("hash %x: owner %v, signature %+v", hash[:4], owners[hash], signed[hash])
			}
		}
		for query, want := range map[string]uint64{
			"SELECT count() FROM v_signed_hashes":              old + recent,
			"SELECT uniqExact(sha256) FROM v_signed_hashes":    old + recent,
			"SELECT sum(bad_signatures) FROM v_batch_results":  2 * ((recent + 999) / 1000),
			"SELECT toUInt64(sum(added)) FROM v_batch_results": recent,
		} {
			if n, err := db.count(t.Context(), query); err != nil || n != want {
				t.Fatalf("%s: %d, %v, want %d", query, n, err, want)
			}
		}
	}
	done := func() bool {
		n, err := db.count(t.Context(), "SELECT toUInt64(max(done)) FROM moves")
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	}
	check()
	killed, deadline := 0, time.Now().Add(3*time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("the rows don't move")
		}
		moved, err := db.count(t.Context(), "SELECT count() FROM moves")
		if err != nil {
			t.Fatal(err)
		}
		mover := exec.Command(os.Args[0], movesRows, url)
		if err := mover.Start(); err != nil {
			t.Fatal(err)
		}
		// It dies in the middle of a range, one or two further on.
		for want := moved + uint64(random.IntN(2)) + 1; time.Now().Before(deadline); {
			n, err := db.count(t.Context(), "SELECT count() FROM moves")
			if err != nil {
				t.Fatal(err)
			}
			if n >= want || done() {
				break
			}
		}
		time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
		_ = mover.Process.Kill()
		_ = mover.Wait()
		killed++
		check()
	}
	if killed < 3 {
		t.Errorf("the mover was killed only %d times", killed)
	}
	// What is left to do is to drop the old rows.
	if err := db.dropOldRows(t.Context()); err != nil {
		t.Fatal(err)
	}
	check()
	if n, err := db.count(t.Context(), "SELECT count() FROM signed_hashes"); n != 0 || err != nil {
		t.Errorf("%d rows are left, %v", n, err)
	}
	if n, err := db.CountHashes(t.Context(), 0, 1); err != nil || n < old+recent {
		t.Errorf("%d hashes are counted, %v", n, err)
	}
	// Each hash is counted as added once, by the range it was in or by the results of its upload.
	added := "SELECT toUInt64(sum(added)) FROM outcomes FINAL"
	if n, err := db.count(t.Context(), added); err != nil || n != old+recent {
		t.Errorf("%d hashes are counted as added, %v, want %d", n, err, old+recent)
	}
	r, found, err := db.Batch(t.Context(), uploadOf(2), 2)
	if err != nil || !found || len(r.Added) != recent-1000 || len(r.BadSignatures) != 2 || r.Added[0] != strings.ToLower(fmt.Sprintf("%x", hashOf(old+1000))) {
		t.Errorf("batch 2 of the recent upload: %d added, %d bad signatures, %v, %v", len(r.Added), len(r.BadSignatures), found, err)
	}
}

// Rows that a sink of version 1 wrote too late are not dropped.
func TestLateRowsOfVersion1AreKept(t *testing.T) {
	db, _ := oldDatabase(t, 10, 0)
	s, err := db.moveState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.moveRanges(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	late := hashOf(99)
	if err := db.Exec(t.Context(), "INSERT INTO signed_hashes (hash, upload) VALUES ("+literal(late[:])+", generateUUIDv4())"); err != nil {
		t.Fatal(err)
	}
	if err := db.dropOldRows(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, found, err := db.Hash(t.Context(), late); err != nil || !found {
		t.Error(found, err)
	}
}

// A new database has nothing to move.
func TestNothingToMove(t *testing.T) {
	db := newDB(t)
	for range 2 {
		if err := db.moveOldRows(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := db.moveState(t.Context()); err != nil || !s.done {
		t.Error(s, err)
	}
}
