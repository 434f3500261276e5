package store

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"countersign/pipeline/record"
)

// A shard's range of the primary key is exactly the hashes that record.Shard gives it.
func TestShardRangesMatchTheDefinition(t *testing.T) {
	for shards := 1; shards <= 64; shards++ {
		for shard := range shards {
			first := firstHash(shard, shards)
			if got := record.Shard(first, shards); got != shard {
				t.Fatalf("the first hash of shard %d of %d belongs to %d", shard, shards, got)
			}
			top := binary.BigEndian.Uint32(first)
			if shard > 0 {
				before := binary.BigEndian.AppendUint32(nil, top-1)
				if got := record.Shard(before, shards); got != shard-1 {
					t.Fatalf("the hash before shard %d of %d belongs to %d", shard, shards, got)
				}
			}
			if tail := first[4:]; !bytes.Equal(tail, make([]byte, 28)) {
				t.Fatalf("shard %d of %d starts at %x", shard, shards, first)
			}
		}
		if got := record.Shard(binary.BigEndian.AppendUint32(nil, math.MaxUint32), shards); got != shards-1 {
			t.Fatalf("the last hash belongs to shard %d of %d", got, shards)
		}
	}
	for _, bad := range [][2]int{{-1, 4}, {4, 4}, {0, 0}} {
		if _, err := shardRange(bad[0], bad[1]); err == nil {
			t.Errorf("shard %d of %d was accepted", bad[0], bad[1])
		}
	}
}

// The boundary hashes themselves, stored and asked for: each is in its own shard and no other.
func TestScanAtTheBoundaries(t *testing.T) {
	db := newDB(t)
	rows := &HashRows{}
	add := func(hash []byte) {
		one := rowsOf(uploadOf(1), 0, 1)
		rows.Hash = append(rows.Hash, hash...)
		rows.Upload, rows.Position = append(rows.Upload, one.Upload...), append(rows.Position, one.Position...)
		rows.Site, rows.SignedAt = append(rows.Site, one.Site...), append(rows.SignedAt, one.SignedAt...)
		rows.Algorithm, rows.Signature = append(rows.Algorithm, one.Algorithm...), append(rows.Signature, one.Signature...)
		rows.Certificate, rows.Upper = append(rows.Certificate, one.Certificate...), append(rows.Upper, one.Upper...)
	}
	const shards = 7
	for shard := range shards {
		first := firstHash(shard, shards)
		add(first)
		last := bytes.Repeat([]byte{0xff}, HashSize)
		if shard+1 < shards {
			binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(firstHash(shard+1, shards))-1)
		}
		add(last)
	}
	if err := db.InsertHashes(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	for shard := range shards {
		var got []byte
		err := db.ScanHashes(t.Context(), shard, shards, func(hashes []byte) error { got = append(got, hashes...); return nil })
		if want := rows.Hash[2*shard*HashSize : 2*(shard+1)*HashSize]; err != nil || !bytes.Equal(got, want) {
			t.Errorf("shard %d: %x, %v, want %x", shard, got, err, want)
		}
	}
}

// An error of the callback ends a scan at once.
func TestScanStopsWhenAsked(t *testing.T) {
	db := newDB(t)
	if err := db.InsertHashes(t.Context(), rowsOf(uploadOf(1), 0, 3*8192)); err != nil {
		t.Fatal(err)
	}
	calls := 0
	err := db.ScanHashes(t.Context(), 0, 1, func([]byte) error { calls++; return fmt.Errorf("filter is full") })
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
	contains(t, err, "filter is full")
}

// The views are what docs promise to analysts: exact with every row stored twice.
func TestViewsAreExactWhileReplaysAreUnmerged(t *testing.T) {
	db := newDB(t)
	for _, table := range []string{"signatures", "owners", "cosigners", "uploads", "outcomes", "exceptions", "certificates"} {
		if err := db.conn.Exec(t.Context(), "SYSTEM STOP MERGES "+table); err != nil {
			t.Fatal(err)
		}
	}
	accepted := time.Now().Add(-time.Hour).UnixMilli() // results expire
	hash, leaf := hashOf(0), []byte("leaf in DER")
	fingerprint := sha256.Sum256(leaf)
	rows := rowsOf(uploadOf(1), 0, 2)
	rows.Certificate[0] = fingerprint
	rows.SignedAt[0], rows.SignedAt[1] = accepted, accepted
	upload := Upload{ID: uploadOf(1), Site: "files.example.org", Count: 1001, AcceptedAt: accepted}
	outcome := ResultRow{Upload: uploadOf(1), Batch: 1, Shard: -1, AcceptedAt: accepted, Claims: 1, Errors: []Failure{{3, "x", "y"}}}
	added := ResultRow{Upload: uploadOf(1), Batch: 1, Shard: 2, AcceptedAt: accepted, Added: Entries{Hashes: hash[:], Indexes: []uint16{0}}}
	pending := outcome
	pending.Batch = 2
	for i := range 2 {
		for _, err := range []error{
			db.InsertHashes(t.Context(), rows),
			db.InsertUploads(t.Context(), []Upload{upload}),
			db.InsertResults(t.Context(), []ResultRow{outcome, added, pending}),
			db.InsertCertificates(t.Context(), []Certificate{{"files.example.org", [][]byte{leaf, []byte("root")}, accepted + int64(i)}}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	want := Certificate{"files.example.org", [][]byte{leaf, []byte("root")}, accepted + 1}
	if got, found, err := db.Certificate(t.Context(), fingerprint); err != nil || !found || !reflect.DeepEqual(got, want) {
		t.Errorf("certificate %+v, %v, %v; want %+v", got, found, err, want)
	}
	if _, found, err := db.Certificate(t.Context(), hash); err != nil || found {
		t.Errorf("a certificate that nobody served: %v, %v", found, err)
	}
	fp := hex.EncodeToString(fingerprint[:])
	at, later := clickhouseTime(accepted), clickhouseTime(accepted+1)
	for _, c := range []struct{ query, want string }{
		{"SELECT sha256, site, toString(signed_at), upload, position, algorithm, signature, certificate FROM v_signed_hashes WHERE hash = unhex('" + hex.EncodeToString(hash[:]) + "')",
			strings.Join([]string{hex.EncodeToString(hash[:]), "files.example.org", at, uploadOf(1).String(), "0", "RSA-2048",
				base64.StdEncoding.EncodeToString(rows.Signature[0]), fp}, "|")},
		{"SELECT count() FROM v_signed_hashes", "2"},
		{"SELECT upload, site, pairs, batches, toString(accepted_at) FROM v_uploads", uploadOf(1).String() + "|files.example.org|1001|2|" + at},
		{"SELECT batch, done, added, duplicates, bad_signatures, errors, toString(accepted_at) FROM v_batch_results WHERE upload = '" + uploadOf(1).String() + "' ORDER BY batch",
			"1|1|1|0|0|1|" + at + "\n2|0|0|0|0|1|" + at},
		{"SELECT certificate, site, toString(first_seen), toString(last_seen), arrayMap(x -> hex(x), chain) FROM v_certificates",
			fp + "|files.example.org|" + at + "|" + later + "|['" + strings.ToUpper(hex.EncodeToString(leaf)) + "','726F6F74']"},
	} {
		if got := rowsAsText(t, db, c.query); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.query, got, c.want)
		}
	}
}

// The views that count, with every row stored twice, the second time from another place in the log.
func TestCountsAreExactWhileReplaysAreUnmerged(t *testing.T) {
	db := newDB(t)
	for _, table := range []string{"cosigners", "uploads", "outcomes", "exceptions", "certificates"} {
		if err := db.conn.Exec(t.Context(), "SYSTEM STOP MERGES "+table); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	today, before := now.UnixMilli(), now.Add(-24*time.Hour).UnixMilli()
	day, yesterday := now.UTC().Format(time.DateOnly), now.Add(-24*time.Hour).UTC().Format(time.DateOnly)
	leaf := testLeaf(t)
	first, second := [32]byte{1}, sha256.Sum256(leaf)
	some := func(n int) Entries {
		return Entries{Hashes: make([]byte, n*HashSize), Indexes: make([]uint16, n)}
	}
	a := ResultRow{Upload: uploadOf(1), Batch: 1, Shard: 0, Site: "a.example", AcceptedAt: today, Added: some(5), Duplicates: some(2),
		Certificates: []CertificateCount{{first, 4, 0}, {second, 1, 2}}}
	verified := ResultRow{Upload: uploadOf(1), Batch: 1, Shard: -1, Site: "a.example", AcceptedAt: today, Claims: 7, BadSignatures: some(1),
		Errors: []Failure{{9, "x", "not hex"}, {10, "y", "not hex"}}, Failed: some(3), FailedReason: "nobody home"}
	b := ResultRow{Upload: uploadOf(2), Batch: 1, Shard: 3, Site: "b.example", AcceptedAt: before, Added: some(1),
		Certificates: []CertificateCount{{second, 1, 0}}}
	moved := ResultRow{Upload: uploadOf(3), Batch: 1, Shard: movedShard, Site: "b.example", AcceptedAt: before, Added: some(7)} // without certificates
	uploads := []Upload{{uploadOf(1), "a.example", 13, today}, {uploadOf(2), "b.example", 2, before}}
	var also HashRows
	also.add(hashOf(1), SignedHash{Upload: uploadOf(1), Position: 6, Site: "a.example", SignedAt: today, Algorithm: "RSA", Signature: []byte("s"), Certificate: second})
	for range 2 {
		rows := []ResultRow{a, verified, b, moved}
		for i := range rows {
			rows[i].LogOffset = int64(i + 1)
		}
		err := errors.Join(db.InsertResults(t.Context(), rows), db.InsertUploads(t.Context(), uploads), db.InsertCosigners(t.Context(), &also),
			db.InsertCertificates(t.Context(), []Certificate{{"a.example", [][]byte{leaf}, today}}))
		if err != nil {
			t.Fatal(err)
		}
		a.LogOffset, verified.LogOffset = 100, 100
	}
	fp := hex.EncodeToString(second[:])
	for _, c := range []struct{ query, want string }{
		{"SELECT site, day, certificate, added, duplicates, bad_signatures, errors FROM v_outcomes ORDER BY site, certificate",
			"a.example|" + day + "||0|0|1|5\n" + "a.example|" + day + "|01" + strings.Repeat("0", 62) + "|4|0|0|0\n" + "a.example|" + day + "|" + fp + "|1|2|0|0\n" +
				"b.example|" + yesterday + "||7|0|0|0\nb.example|" + yesterday + "|" + fp + "|1|0|0|0"},
		{"SELECT site, day, uploads, added, duplicates, bad_signatures, errors FROM v_site_daily ORDER BY site",
			"a.example|" + day + "|1|5|2|1|5\nb.example|" + yesterday + "|2|8|0|0|0"},
		{"SELECT day, sites, uploads, added, duplicates, bad_signatures, errors FROM v_daily ORDER BY day",
			yesterday + "|1|2|8|0|0|0\n" + day + "|1|1|5|2|1|5"},
		{"SELECT reason, pairs FROM v_failures WHERE site = 'a.example' ORDER BY reason", "nobody home|3\nnot hex|2"},
		{"SELECT sha256, site, upload, position, toString(signed_at), algorithm, signature, certificate FROM v_cosigners",
			hex.EncodeToString(also.Hash) + "|a.example|" + uploadOf(1).String() + "|6|" + clickhouseTime(today) + "|RSA|cw==|" + fp},
		{"SELECT site, pairs_added, pairs_duplicate, pairs_bad, pairs_failed, finished_at >= accepted_at, seconds >= 0 FROM v_uploads WHERE site = 'a.example'",
			"a.example|5|2|1|5|1|1"},
		{"SELECT pairs_added, finished_at IS NULL FROM v_uploads WHERE site = 'b.example'", "1|1"},
		{"SELECT subject, issuer, serial, toString(not_after) FROM v_certificates WHERE certificate = '" + fp + "'",
			"CN=a.example,O=A|CN=a.example,O=A|ff|" + clickhouseTime(2_000_000_000_000)},
	} {
		if got := rowsAsText(t, db, c.query); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.query, got, c.want)
		}
	}
	// What was stored before the certificates were read is filled in.
	for _, statement := range []string{
		"TRUNCATE TABLE certificates",
		fmt.Sprintf("INSERT INTO certificates (fingerprint, site, chain) VALUES (%s, 'a.example', [unhex('%x')])", literal(second[:]), leaf),
	} {
		if err := db.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.describeCertificates(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := rowsAsText(t, db, "SELECT subject, serial FROM v_certificates"); got != "CN=a.example,O=A|ff" {
		t.Errorf("described again: %s", got)
	}
}

// testLeaf makes a certificate.
func testLeaf(t *testing.T) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(255), Subject: pkix.Name{CommonName: "a.example", Organization: []string{"A"}},
		NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(2_000_000_000, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// clickhouseTime writes Unix milliseconds as toString does.
func clickhouseTime(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000")
}

// rowsAsText joins columns by | and rows by newlines.
func rowsAsText(t *testing.T, db *DB, query string) string {
	t.Helper()
	rows, err := db.conn.Query(t.Context(), "SELECT arrayStringConcat(arrayMap(x -> x, [*]), '|') FROM (SELECT * APPLY(toString) FROM ("+query+"))")
	if err != nil {
		t.Fatal(query, err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
