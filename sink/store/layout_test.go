package store

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"countersign/pipeline/record"
	"countersign/sink/store/engine/clustertest"
)

// Two ClickHouse shards hold what one would, every view counts it once, and while one of them is away questions about
// keys of the other one are answered.
func TestSeveralShards(t *testing.T) {
	cluster := clustertest.Start(t, 2, append(ServiceGrants("default"), ClusterGrants()...))
	cfg := Config{URL: cluster.URL(), Cluster: clustertest.Name}
	db := open(t, cfg)
	soon(t, func() error { return db.Migrate(t.Context()) })
	if err := db.CheckShards(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if db.Places() != 2 {
		t.Fatalf("%d ClickHouse shards", db.Places())
	}

	// Everything is stored twice, as a replay does.
	const n = 3000
	rows := randomRows(rand.NewChaCha8([32]byte{3}), n)
	now := time.Now().UnixMilli()
	id := rows.Upload[0]
	results := []ResultRow{
		{Upload: id, Batch: 1, Shard: record.OutcomeShard, Site: "a.example", AcceptedAt: now, Claims: 7, BadSignatures: entriesOf(2)},
		{Upload: id, Batch: 1, Shard: 0, Site: "a.example", AcceptedAt: now, Duplicates: entriesOf(7)},
	}
	for range 2 {
		for _, err := range []error{
			db.InsertSignatures(t.Context(), rows), db.InsertOwners(t.Context(), rows), db.InsertCosigners(t.Context(), rows.Slice(0, 100)),
			db.InsertExceptions(t.Context(), results), db.InsertOutcomes(t.Context(), results),
			db.InsertUploads(t.Context(), []Upload{{id, "a.example", 9, now}}),
			db.InsertCertificates(t.Context(), []Certificate{{"a.example", [][]byte{{1}}, now}}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for query, want := range map[string]uint64{
		"SELECT count() FROM v_signed_hashes":                                         n,
		"SELECT uniqExact(sha256) FROM v_signed_hashes":                               n,
		"SELECT count() FROM v_signed_hashes WHERE hash = " + literal(rows.Hash[:32]): 1,
		"SELECT count() FROM v_cosigners":                                             100,
		"SELECT count() FROM v_uploads WHERE finished_at IS NOT NULL":                 1,
		"SELECT count() FROM v_certificates":                                          1,
		"SELECT toUInt64(sum(duplicates)) FROM v_outcomes":                            7,
		"SELECT toUInt64(sum(bad_signatures)) FROM v_site_daily":                      2,
		"SELECT toUInt64(sum(duplicates)) FROM v_daily":                               7,
		"SELECT toUInt64(sum(duplicates)) FROM v_batch_results WHERE done":            7,
		"SELECT count() FROM v_failures":                                              0,
	} {
		if got, err := db.count(t.Context(), query); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", query, got, err, want)
		}
	}
	byPlace := make([][][32]byte, 2)
	for _, h := range split(rows.Hash) {
		place := record.Shard(h, 2)
		byPlace[place] = append(byPlace[place], [32]byte(h))
	}
	for place, hashes := range byPlace {
		one := open(t, Config{URL: cluster.ServerURL(place)})
		for _, table := range []string{"owners_local", "signatures_local"} {
			if got, err := one.count(t.Context(), "SELECT uniqExact(hash) FROM "+table); err != nil || got != uint64(len(hashes)) {
				t.Errorf("%s of ClickHouse shard %d: %d hashes, %v, want %d", table, place, got, err, len(hashes))
			}
		}
	}
	if batch, known, err := db.Batch(t.Context(), id, 1); err != nil || !known || !batch.Done || len(batch.Duplicates) != 7 {
		t.Errorf("the batch is %+v, %v, %v", batch, known, err)
	}
	counted := uint64(0)
	for shard := range 4 {
		n, err := db.CountHashes(t.Context(), shard, 4)
		if err != nil {
			t.Fatal(err)
		}
		counted += n
	}
	if counted != 2*n {
		t.Errorf("%d rows of owners are counted, want %d", counted, 2*n)
	}

	cluster.Kill(1)
	soon(t, func() error {
		if err := db.Check(t.Context()); err == nil {
			return errors.New("a ClickHouse shard is away, and nobody says so")
		}
		return nil
	})
	if owners := (map[[32]byte]Owner{}); db.Owners(t.Context(), join(byPlace[0]), owners) != nil || len(owners) != len(byPlace[0]) {
		t.Errorf("%d owners of %d are found", len(owners), len(byPlace[0]))
	}
	for _, some := range [][][32]byte{byPlace[0][:1], byPlace[0][:500]} {
		if found, err := db.Hashes(t.Context(), some); err != nil || len(found) != len(some) {
			t.Errorf("%d hashes of %d are found: %v", len(found), len(some), err)
		}
		if _, err := db.CoSigners(t.Context(), some); err != nil {
			t.Error(err)
		}
	}
	for _, some := range [][][32]byte{byPlace[1][:1], byPlace[1][:500]} {
		if _, err := db.Hashes(t.Context(), some); !errors.Is(err, ErrUnavailable) {
			t.Errorf("hashes of the ClickHouse shard that is away: %v", err)
		}
	}
	var here, there []uuid.UUID
	for i := range 3 {
		here, there = append(here, uuid.UUID{0: byte(i)}), append(there, uuid.UUID{0: 0xff, 1: byte(i)})
	}
	if _, err := db.Uploads(t.Context(), here); err != nil {
		t.Error(err)
	}
	if _, err := db.ProgressOf(t.Context(), here); err != nil {
		t.Error(err)
	}
	if _, err := db.ProgressOf(t.Context(), there); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	// An insert is stored as a whole or not at all, so one that is repeated for hours leaves nothing behind.
	if err := db.InsertOwners(t.Context(), randomRows(rand.NewChaCha8([32]byte{4}), 100)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("an insert while a ClickHouse shard is away: %v", err)
	}
	if got, err := db.count(t.Context(), "SELECT uniqExact(hash) FROM owners_local"); err != nil || got != uint64(len(byPlace[0])) {
		t.Errorf("%d hashes are stored, %v, want %d", got, err, len(byPlace[0]))
	}
	// A process starts with what answers.
	again := open(t, cfg)
	if err := errors.Join(again.Migrate(t.Context()), again.CheckShards(t.Context(), 4)); err != nil {
		t.Error(err)
	}
	var shards *ShardsError
	if err := again.CheckShards(t.Context(), 5); !errors.As(err, &shards) {
		t.Error(err)
	}

	cluster.StartAgain(1)
	soon(t, func() error { return db.Check(t.Context()) })
	if found, err := db.Hashes(t.Context(), append(byPlace[0][:10:10], byPlace[1][:10]...)); err != nil || len(found) != 20 {
		t.Errorf("%d hashes of 20 are found: %v", len(found), err)
	}

	t.Run("another number of shards", func(t *testing.T) {
		db := open(t, cfg)
		must(t, db.everywhere(t.Context(), nil, nil))
		db.found.Store(&layout{cluster: clustertest.Name, shards: 3})
		contains(t, db.checkLayout(t.Context()), "has 3 shards", "filled on 2")
	})
	t.Run("another order", func(t *testing.T) {
		// What this server has, said to be another's.
		must(t, db.Exec(t.Context(), "TRUNCATE TABLE owners_local"))
		must(t, db.Exec(t.Context(), "INSERT INTO owners_local (hash) VALUES ("+literal(byPlace[1][0][:])+")"))
		contains(t, db.checkOrder(t.Context()), "shard 1", "rows of shard 2")
	})
}

func entriesOf(n int) (e Entries) {
	for i := range n {
		hash := hashOf(i)
		e.Hashes, e.Indexes = append(e.Hashes, hash[:]...), append(e.Indexes, uint16(i))
	}
	return e
}

func join(hashes [][32]byte) (all []byte) {
	for _, h := range hashes {
		all = append(all, h[:]...)
	}
	return all
}

// soon returns when something holds.
func soon(t *testing.T, holds func() error) {
	t.Helper()
	err := holds()
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); err = holds() {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
