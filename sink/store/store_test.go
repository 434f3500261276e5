package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"countersign/pipeline/record"
)

func hashOf(i int) [32]byte {
	return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
}

func uploadOf(i int) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, i))
}

// rowsOf makes n rows of signed_hashes, those of hashOf(from) and so on.
func rowsOf(upload uuid.UUID, from, n int) *HashRows {
	r := &HashRows{}
	for i := range n {
		hash := hashOf(from + i)
		r.Hash = append(r.Hash, hash[:]...)
		r.Upload = append(r.Upload, upload)
		r.Position = append(r.Position, uint32(i))
		r.Site = append(r.Site, "files.example.org")
		r.SignedAt = append(r.SignedAt, 1_790_000_000_123)
		r.Algorithm = append(r.Algorithm, "RSA-2048")
		r.Signature = append(r.Signature, bytes.Repeat(hash[:], 8))
		r.Certificate = append(r.Certificate, sha256.Sum256([]byte("leaf")))
		r.Upper = append(r.Upper, i%3 == 1)
	}
	return r
}

// Hash is Hashes for one.
func (db *DB) Hash(ctx context.Context, hash [32]byte) (signed SignedHash, found bool, err error) {
	all, err := db.Hashes(ctx, [][32]byte{hash})
	signed, found = all[hash]
	return signed, found, err
}

// InsertHashes stores rows as the sink does.
func (db *DB) InsertHashes(ctx context.Context, rows *HashRows) error {
	if err := db.InsertSignatures(ctx, rows); err != nil {
		return err
	}
	return db.InsertOwners(ctx, rows)
}

// InsertResults stores rows as the sink does.
func (db *DB) InsertResults(ctx context.Context, rows []ResultRow) error {
	var exceptions []ResultRow
	for i := range rows {
		if rows[i].IsException() {
			exceptions = append(exceptions, rows[i])
		}
	}
	if err := db.InsertExceptions(ctx, exceptions); err != nil {
		return err
	}
	return db.InsertOutcomes(ctx, rows)
}

// InsertAdded stores the signatures of what rows count as added.
func (db *DB) InsertAdded(ctx context.Context, rows []ResultRow) error {
	var added HashRows
	for i := range rows {
		r := &rows[i]
		for j, index := range r.Added.Indexes {
			added.add([32]byte(r.Added.Hashes[j*HashSize:]), SignedHash{Upload: r.Upload, Position: record.Position(r.Batch, int(index)),
				Site: r.Site, SignedAt: r.AcceptedAt, Case: caseOf(record.Bit(r.Added.Upper, j))})
		}
	}
	return db.InsertSignatures(ctx, &added)
}

// add appends a row.
func (r *HashRows) add(hash [32]byte, s SignedHash) {
	r.Hash, r.Upload, r.Position = append(r.Hash, hash[:]...), append(r.Upload, s.Upload), append(r.Position, s.Position)
	r.Site, r.SignedAt, r.Algorithm = append(r.Site, s.Site), append(r.SignedAt, s.SignedAt), append(r.Algorithm, s.Algorithm)
	r.Signature, r.Certificate = append(r.Signature, s.Signature), append(r.Certificate, s.Certificate)
	r.Upper = append(r.Upper, s.Case == UpperCase)
}

// Progress is ProgressOf for one.
func (db *DB) Progress(ctx context.Context, id uuid.UUID) ([]BatchProgress, error) {
	all, err := db.ProgressOf(ctx, []uuid.UUID{id})
	return all[id], err
}

func TestOwnersFindsExactlyTheStoredHashes(t *testing.T) {
	db := newDB(t)
	const n = 5000
	if err := db.InsertHashes(t.Context(), rowsOf(uploadOf(1), 0, n)); err != nil {
		t.Fatal(err)
	}
	if err := db.InsertHashes(t.Context(), rowsOf(uploadOf(1), 0, 100)); err != nil { // a replay
		t.Fatal(err)
	}
	var asked []byte
	for i := range 2 * n {
		hash := hashOf(i)
		asked = append(asked, hash[:]...)
	}
	owners := map[[32]byte]Owner{}
	if err := db.Owners(t.Context(), asked, owners); err != nil {
		t.Fatal(err)
	}
	if len(owners) != n {
		t.Fatalf("%d owners of %d hashes", len(owners), n)
	}
	for i := range n {
		if got, want := owners[hashOf(i)], (Owner{uploadOf(1), uint32(i), "files.example.org"}); got != want {
			t.Fatalf("hash %d belongs to %v, want %v", i, got, want)
		}
	}
}

func TestHashReturnsTheWholeRow(t *testing.T) {
	db := newDB(t)
	rows := rowsOf(uploadOf(7), 0, 3)
	if err := db.InsertHashes(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	got, found, err := db.Hash(t.Context(), hashOf(2))
	if err != nil || !found {
		t.Fatal(found, err)
	}
	want := SignedHash{Upload: uploadOf(7), Position: 2, Site: rows.Site[2], SignedAt: rows.SignedAt[2], Algorithm: rows.Algorithm[2],
		Signature: rows.Signature[2], Certificate: rows.Certificate[2], Case: LowerCase}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if _, found, err := db.Hash(t.Context(), hashOf(3)); found || err != nil {
		t.Error("a hash that nobody signed:", found, err)
	}
}

func TestUploadsEarliestAcceptanceWins(t *testing.T) {
	db := newDB(t)
	early := Upload{ID: uploadOf(1), Site: "a.example", Count: 12, AcceptedAt: 1_790_000_000_001}
	late := early
	late.AcceptedAt += 5
	for _, u := range []Upload{late, early, late} {
		if err := db.InsertUploads(t.Context(), []Upload{u}); err != nil {
			t.Fatal(err)
		}
	}
	for _, merged := range []bool{false, true} {
		if merged {
			if err := db.conn.Exec(t.Context(), "OPTIMIZE TABLE uploads FINAL"); err != nil {
				t.Fatal(err)
			}
		}
		got, found, err := db.Upload(t.Context(), early.ID)
		if err != nil || !found || got != early {
			t.Errorf("merged %v: got %+v, %v, %v, want %+v", merged, got, found, err, early)
		}
	}
	if _, found, err := db.Upload(t.Context(), uploadOf(2)); found || err != nil {
		t.Error("unknown upload:", found, err)
	}
}

func TestBatchAndProgressCountAReplayOnce(t *testing.T) {
	now := time.Now()
	db := open(t, Config{URL: newDatabase(t), Clock: func() time.Time { return now }})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	entriesAt := func(indexes ...int) (e Entries) {
		for _, i := range indexes {
			hash := hashOf(i)
			e.Hashes = append(e.Hashes, hash[:]...)
			e.Indexes = append(e.Indexes, uint16(i))
		}
		return e
	}
	key := ResultRow{Upload: uploadOf(1), Batch: 1, AcceptedAt: now.Add(-47 * time.Hour).UnixMilli()}
	outcome, first, second, otherPart := key, key, key, key
	outcome.Shard, outcome.Claims = -1, 6
	outcome.BadSignatures = entriesAt(9, 10)
	outcome.BadSignatures.Upper = []byte{2}
	outcome.Errors = []Failure{{11, "zz", "not hex"}, {30, "", "empty"}}
	outcome.Failed, outcome.FailedReason = entriesAt(12, 31), "nobody home"
	outcome.Failed.Upper = []byte{2}
	first.Shard, first.Added, first.Duplicates = 0, entriesAt(3, 8), entriesAt(1)
	second.Shard, second.Added = 5, entriesAt(0, 7)
	otherPart.Shard, otherPart.Part, otherPart.Duplicates = 5, 1, entriesAt(2)

	insert := func(rows ...ResultRow) {
		t.Helper()
		if err := errors.Join(db.InsertAdded(t.Context(), rows), db.InsertResults(t.Context(), rows)); err != nil {
			t.Fatal(err)
		}
	}
	insert(outcome, first, second)
	insert(first, outcome) // a replay
	check := func(done bool, want BatchProgress) {
		t.Helper()
		want.Batch, want.Done = 1, done
		got, err := db.Progress(t.Context(), key.Upload)
		if err != nil || !reflect.DeepEqual(got, []BatchProgress{want}) {
			t.Errorf("progress %+v, %v, want %+v", got, err, want)
		}
	}
	check(false, BatchProgress{Added: 4, Duplicates: 1, BadSignatures: 2, Errors: 4})
	insert(otherPart)
	insert(otherPart)
	check(true, BatchProgress{Added: 4, Duplicates: 2, BadSignatures: 2, Errors: 4})

	text := func(i int) string { return fmt.Sprintf("%x", hashOf(i)) }
	want := BatchResult{
		Done:          true,
		Added:         []string{text(0), text(3), text(7), text(8)},
		Duplicates:    []string{text(1), text(2)},
		BadSignatures: []string{text(9), fmt.Sprintf("%X", hashOf(10))},
		Errors: []Failure{
			{11, "zz", "not hex"}, {12, text(12), "nobody home"}, {30, "", "empty"}, {31, fmt.Sprintf("%X", hashOf(31)), "nobody home"},
		},
	}
	got, found, err := db.Batch(t.Context(), key.Upload, 1)
	if err != nil || !found || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, %v\nwant %+v", got, found, err, want)
	}
	now = now.Add(time.Hour)
	if _, found, err := db.Batch(t.Context(), key.Upload, 1); found || err != nil {
		t.Error("48 hours later:", found, err)
	}
	if _, found, err := db.Batch(t.Context(), key.Upload, 2); found || err != nil {
		t.Error("unknown batch:", found, err)
	}
}

func TestScanAndCountCoverEachShardOnce(t *testing.T) {
	db := newDB(t)
	const n = 20_000
	if err := db.InsertHashes(t.Context(), rowsOf(uploadOf(1), 0, n)); err != nil {
		t.Fatal(err)
	}
	for _, shards := range []int{1, 3, 16} {
		var all [][32]byte
		for shard := range shards {
			before := len(all)
			err := db.ScanHashes(t.Context(), shard, shards, func(hashes []byte) error {
				for ; len(hashes) > 0; hashes = hashes[HashSize:] {
					all = append(all, [32]byte(hashes))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			count, err := db.CountHashes(t.Context(), shard, shards)
			if err != nil || int(count) != len(all)-before {
				t.Errorf("shard %d of %d: counted %d, scanned %d, %v", shard, shards, count, len(all)-before, err)
			}
		}
		slices.SortFunc(all, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
		if distinct := len(slices.Compact(all)); distinct != n || len(all) != n {
			t.Errorf("%d shards: %d hashes, %d of them distinct, want %d", shards, len(all), distinct, n)
		}
	}
}

// What a record holds can be refused by no insert: it would be repeated for ever, and everything behind it would wait.
func TestRowsOfAnyTimesAreStored(t *testing.T) {
	db := newDB(t)
	times := []int64{0, -1, math.MinInt64, math.MaxInt64, 253_402_300_800_000}
	for day := range 110 {
		times = append(times, time.Now().AddDate(0, 0, -day).UnixMilli())
	}
	var results []ResultRow
	var uploads []Upload
	var certificates []Certificate
	hashes := rowsOf(uploadOf(1), 0, len(times))
	for i, at := range times {
		results = append(results, ResultRow{Upload: uploadOf(i), Batch: 1, Shard: -1, AcceptedAt: at})
		uploads = append(uploads, Upload{ID: uploadOf(i), AcceptedAt: at})
		certificates = append(certificates, Certificate{Chain: [][]byte{{byte(i)}}, SeenAt: at})
		hashes.SignedAt[i] = at
	}
	if err := errors.Join(db.InsertHashes(t.Context(), hashes), db.InsertResults(t.Context(), results),
		db.InsertUploads(t.Context(), uploads), db.InsertCertificates(t.Context(), certificates)); err != nil {
		t.Error(err)
	}
}

// What many ask for at once is what each would get alone.
func TestManyAtOnce(t *testing.T) {
	db := newDB(t)
	const n = 300
	var hashes [][32]byte
	var ids []uuid.UUID
	var uploads []Upload
	var results []ResultRow
	for i := range n {
		hashes, ids = append(hashes, hashOf(i)), append(ids, uploadOf(i))
		if i%2 == 0 { // of the others nothing is stored
			uploads = append(uploads, Upload{ID: uploadOf(i), Site: "a.example", Count: uint64(i), AcceptedAt: 1_790_000_000_000})
			results = append(results, ResultRow{Upload: uploadOf(i), Batch: 1, Shard: -1, AcceptedAt: time.Now().UnixMilli()})
		}
	}
	for range 2 { // a replay
		err := errors.Join(db.InsertHashes(t.Context(), rowsOf(uploadOf(0), 0, n/2)),
			db.InsertUploads(t.Context(), uploads), db.InsertResults(t.Context(), results))
		if err != nil {
			t.Fatal(err)
		}
	}
	signed, err := db.Hashes(t.Context(), hashes)
	known, errUploads := db.Uploads(t.Context(), ids)
	progress, errProgress := db.ProgressOf(t.Context(), ids)
	if err := errors.Join(err, errUploads, errProgress); err != nil {
		t.Fatal(err)
	}
	if len(signed) != n/2 || len(known) != n/2 || len(progress) != n/2 {
		t.Fatalf("%d hashes, %d uploads, %d with progress", len(signed), len(known), len(progress))
	}
	for i := range 10 {
		one, found, err := db.Hash(t.Context(), hashOf(i))
		if err != nil || !found || !reflect.DeepEqual(one, signed[hashOf(i)]) || one.Case != caseOf(i%3 == 1) {
			t.Errorf("hash %d: %+v, with others %+v, %v", i, one, signed[hashOf(i)], err)
		}
		up, found, err := db.Upload(t.Context(), uploadOf(i))
		if err != nil || found != (i%2 == 0) || up != known[uploadOf(i)] {
			t.Errorf("upload %d: %+v, with others %+v, %v", i, up, known[uploadOf(i)], err)
		}
		alone, err := db.Progress(t.Context(), uploadOf(i))
		if err != nil || !slices.Equal(alone, progress[uploadOf(i)]) || len(alone) > 0 && !alone[0].Done {
			t.Errorf("progress of %d: %+v, with others %+v, %v", i, alone, progress[uploadOf(i)], err)
		}
	}
}

// Rows from before column upper was there say that they don't know, until a replay tells.
func TestCaseOfOldRows(t *testing.T) {
	db := newDB(t)
	hash := hashOf(1)
	old := "INSERT INTO signed_hashes (hash, upload, site) VALUES (" + literal(hash[:]) + ", generateUUIDv4(), 'a.example')"
	if err := db.conn.Exec(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if got, found, err := db.Hash(t.Context(), hash); err != nil || !found || got.Case != UnknownCase {
		t.Errorf("%+v, %v, %v", got, found, err)
	}
	if err := db.InsertHashes(t.Context(), rowsOf(uploadOf(1), 0, 2)); err != nil {
		t.Fatal(err)
	}
	if got, _, err := db.Hash(t.Context(), hash); err != nil || got.Case != UpperCase {
		t.Errorf("%+v, %v", got, err)
	}
}

// Inserts and what stages read don't wait behind reads of callers, however many there are.
func TestReadsHaveTheirOwnConnections(t *testing.T) {
	db := newDB(t)
	slow, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	for range 4 * readConns {
		reading.Go(func() {
			_ = db.readAll(slow, "sleep", "SELECT sleep(3) FROM numbers(100) SETTINGS max_block_size = 1",
				func(driver.Rows) error { return nil })
		})
	}
	for db.reads.Stats().Open < readConns {
		time.Sleep(time.Millisecond)
	}
	if err := db.InsertHashes(t.Context(), rowsOf(uploadOf(1), 0, 10)); err != nil {
		t.Fatal(err)
	}
	owners := map[[32]byte]Owner{}
	first := hashOf(1)
	if err := db.Owners(t.Context(), first[:], owners); err != nil || len(owners) != 1 {
		t.Fatal(owners, err)
	}
	if n := db.reads.Stats().Open; n != readConns {
		t.Errorf("%d reads are under way", n)
	}
}

// Who else signed a hash: each site once, the earliest first, a hundred at most, and how many there are.
func TestCoSigners(t *testing.T) {
	db := newDB(t)
	const sites = MaxCoSigners + 3
	var rows, again HashRows
	for i := range sites {
		s := SignedHash{Upload: uploadOf(i), Position: 7, Site: fmt.Sprintf("site%03d.example", i), SignedAt: 1_790_000_000_000 - int64(i),
			Algorithm: "RSA-PKCS1-SHA256", Signature: fmt.Append(nil, "signature ", i), Certificate: sha256.Sum256([]byte("leaf")), Case: UpperCase}
		rows.add(hashOf(1), s)
		if i == 0 {
			rows.add(hashOf(2), s)
		}
		s.Upload, s.SignedAt = uploadOf(1000+i), s.SignedAt+5000 // signed again
		again.add(hashOf(1), s)
	}
	for _, r := range []*HashRows{&again, &rows, &rows, &again} { // replays, too
		if err := db.InsertCosigners(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, merged := range []bool{false, true} {
		if merged {
			if err := db.conn.Exec(t.Context(), "OPTIMIZE TABLE cosigners FINAL"); err != nil {
				t.Fatal(err)
			}
		}
		all, err := db.CoSigners(t.Context(), [][32]byte{hashOf(1), hashOf(2), hashOf(3)})
		if err != nil || len(all) != 2 {
			t.Fatal(len(all), err)
		}
		also := all[hashOf(1)]
		if also.Count != sites || len(also.First) != MaxCoSigners {
			t.Errorf("merged %v: %d of %d sites", merged, len(also.First), also.Count)
		}
		for i, s := range also.First {
			if at := sites - 1 - i; s.Site != fmt.Sprintf("site%03d.example", at) || s.Upload != uploadOf(at) || s.Case != UpperCase {
				t.Fatalf("merged %v: number %d is %+v", merged, i, s)
			}
		}
		checkSigners(t, db, all)
		one, err := db.CoSigners(t.Context(), [][32]byte{hashOf(2)})
		if err != nil || !reflect.DeepEqual(one[hashOf(2)], all[hashOf(2)]) || one[hashOf(2)].Count != 1 {
			t.Errorf("merged %v: alone %+v, with others %+v, %v", merged, one, all[hashOf(2)], err)
		}
	}
}

// checkSigners compares Signers with what CoSigners says of the same hashes, before and after one of them has an owner.
func checkSigners(t *testing.T, db *DB, all map[[32]byte]CoSigners) {
	t.Helper()
	var owned HashRows
	owner := SignedHash{Upload: uploadOf(500), Site: "owner.example", SignedAt: 1_780_000_000_000, Algorithm: "RSA-PKCS1-SHA256",
		Signature: []byte("signature"), Certificate: sha256.Sum256([]byte("leaf"))}
	owned.add(hashOf(1), owner)
	if err := db.InsertSignatures(t.Context(), owned.Slice(0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := db.InsertOwners(t.Context(), &owned); err != nil {
		t.Fatal(err)
	}
	signers, err := db.Signers(t.Context(), [][32]byte{hashOf(1), hashOf(2), hashOf(3)})
	if err != nil || len(signers) != 1 {
		t.Fatal(len(signers), err)
	}
	got := signers[hashOf(1)]
	if owner.Signature = nil; len(got.Owner.Signature) != 0 {
		t.Errorf("the signature is read: %q", got.Owner.Signature)
	}
	if got.Owner.Signature = nil; !reflect.DeepEqual(got.Owner, owner) {
		t.Errorf("the owner is %+v, want %+v", got.Owner, owner)
	}
	if got.Also.Count != all[hashOf(1)].Count || len(got.Also.First) != MostNamed {
		t.Errorf("%d of %d sites", len(got.Also.First), got.Also.Count)
	}
	for i, s := range got.Also.First {
		if s.Site != all[hashOf(1)].First[i].Site {
			t.Errorf("number %d is %s", i, s.Site)
		}
	}
}
