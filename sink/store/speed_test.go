package store

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

// randomRows makes n rows with random hashes and signatures of 256 bytes.
func randomRows(r *rand.ChaCha8, n int) *HashRows {
	rows := &HashRows{Hash: make([]byte, n*HashSize)}
	r.Read(rows.Hash)
	signatures := make([]byte, n*256)
	r.Read(signatures)
	upload := uuid.New()
	for i := range n {
		rows.Upload = append(rows.Upload, upload)
		rows.Position = append(rows.Position, uint32(i))
		rows.Site = append(rows.Site, "files.example.org")
		rows.SignedAt = append(rows.SignedAt, 1_790_000_000_123)
		rows.Algorithm = append(rows.Algorithm, "RSA-2048")
		rows.Signature = append(rows.Signature, signatures[i*256:(i+1)*256])
		rows.Certificate = append(rows.Certificate, [32]byte{1})
		rows.Upper = append(rows.Upper, i%3 == 1)
	}
	return rows
}

// BenchmarkInsertHashes: one insert of 100,000 rows, synced.
func BenchmarkInsertHashes(b *testing.B) {
	db := newDB(b)
	r := rand.NewChaCha8([32]byte{})
	rows := randomRows(r, 100_000)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		r.Read(rows.Hash)
		b.StartTimer()
		if err := db.InsertHashes(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "rows/s")
}

// filledDB is a store of 2 million hashes, and the last 100,000 of them.
func filledDB(b *testing.B) (*DB, *HashRows) {
	b.Helper()
	db := newDB(b)
	r := rand.NewChaCha8([32]byte{})
	var last *HashRows
	for range 20 {
		last = randomRows(r, 100_000)
		if err := db.InsertHashes(b.Context(), last); err != nil {
			b.Fatal(err)
		}
	}
	return db, last
}

// BenchmarkOwners: bulk lookups of absent and present hashes among 2 million.
func BenchmarkOwners(b *testing.B) {
	db, last := filledDB(b)
	for _, c := range []struct {
		name string
		n    int
	}{{"1", 1}, {"1000", 1000}, {"100000", 100_000}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				into := make(map[[32]byte]Owner, c.n)
				if err := db.Owners(b.Context(), last.Hash[:c.n*HashSize], into); err != nil {
					b.Fatal(err)
				}
				if len(into) != c.n {
					b.Fatal(len(into))
				}
			}
		})
	}
}

// BenchmarkScanHashes: reading a shard for its filter.
func BenchmarkScanHashes(b *testing.B) {
	db := newDB(b)
	r := rand.NewChaCha8([32]byte{})
	for range 20 {
		if err := db.InsertHashes(b.Context(), randomRows(r, 100_000)); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	total := 0
	for range b.N {
		err := db.ScanHashes(b.Context(), 0, 1, func(hashes []byte) error { total += len(hashes) / HashSize; return nil })
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "hashes/s")
}

// BenchmarkHash: one caller asks for one hash after the other, among 2 million.
func BenchmarkHash(b *testing.B) {
	db, last := filledDB(b)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		at := i * 7919 % last.Len()
		begun := time.Now()
		if _, found, err := db.Hash(b.Context(), [32]byte(last.Hash[at*HashSize:])); err != nil || !found {
			b.Fatal(found, err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
}

// BenchmarkBatch: the details of a batch whose pairs were all added, among a hundred.
func BenchmarkBatch(b *testing.B) {
	db := newDB(b)
	rows := randomRows(rand.NewChaCha8([32]byte{}), 100_000)
	var results []ResultRow
	for i := range rows.SignedAt {
		rows.SignedAt[i] = time.Now().UnixMilli() / 1000 * 1000
	}
	for batch := range uint32(100) {
		key := ResultRow{Upload: rows.Upload[0], Batch: batch + 1, Shard: -1, Site: rows.Site[0], AcceptedAt: rows.SignedAt[0], Claims: 1000}
		results = append(results, key)
		key.Shard, key.Claims, key.Added.Indexes = 0, 0, make([]uint16, 1000)
		results = append(results, key)
	}
	if err := errors.Join(db.InsertSignatures(b.Context(), rows), db.InsertResults(b.Context(), results)); err != nil {
		b.Fatal(err)
	}
	for i := uint32(0); b.Loop(); i++ {
		r, found, err := db.Batch(b.Context(), rows.Upload[0], i%100+1)
		if err != nil || !found || len(r.Added) != 1000 {
			b.Fatal(len(r.Added), found, err)
		}
	}
}
