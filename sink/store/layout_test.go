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
	t.Parallel()
	p := startPair(t)
	p.countsEverythingOnce(t)
	p.hashesLieByTheirLeadingBits(t)

	p.cluster.Stop(1)
	if _, err := p.db.Hashes(t.Context(), p.hashes[1][:1]); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a hash of the ClickHouse shard that is silent: %v", err)
	}
	if found, err := p.db.Hashes(t.Context(), p.hashes[0][:10]); err != nil || len(found) != 10 {
		t.Errorf("%d hashes of 10 are found: %v", len(found), err)
	}
	p.cluster.Kill(1)
	soon(t, func() error {
		if p.db.Check(t.Context()) == nil {
			return errors.New("a ClickHouse shard is away, and nobody says so")
		}
		return nil
	})
	p.answersForTheShardThatIsThere(t)
	p.storesNothingInPart(t)
	p.startsWithWhatIsThere(t)
	p.cluster.StartAgain(1)
	soon(t, func() error { return p.db.Check(t.Context()) })
	if found, err := p.db.Hashes(t.Context(), append(p.hashes[0][:10:10], p.hashes[1][:10]...)); err != nil || len(found) != 20 {
		t.Errorf("%d hashes of 20 are found: %v", len(found), err)
	}
	p.refusesOtherShards(t)
}

// pairRows is how many hashes a pair has.
const pairRows = 3000

// pair is a store on two ClickHouse shards. All its rows are stored twice, as a replay does.
type pair struct {
	cluster *clustertest.Cluster
	cfg     Config
	db      *DB
	upload  uuid.UUID
	hashes  [2][][32]byte // by ClickHouse shard
}

func startPair(t *testing.T) *pair {
	p := &pair{cluster: clustertest.Start(t, 2, append(ServiceGrants("default"), ClusterGrants()...))}
	p.cfg = Config{URL: p.cluster.URL(), Cluster: clustertest.Name}
	p.db = open(t, p.cfg)
	soon(t, func() error { return p.db.Migrate(t.Context()) })
	must(t, p.db.CheckShards(t.Context(), 4))
	rows := randomRows(rand.NewChaCha8([32]byte{3}), pairRows)
	for _, h := range split(rows.Hash) {
		place := record.Shard(h, p.db.Places())
		p.hashes[place] = append(p.hashes[place], [32]byte(h))
	}
	now := time.Now().UnixMilli()
	p.upload = rows.Upload[0]
	results := []ResultRow{
		{Upload: p.upload, Batch: 1, Shard: record.OutcomeShard, Site: "a.example", AcceptedAt: now, Claims: 7, BadSignatures: entriesOf(2)},
		{Upload: p.upload, Batch: 1, Shard: 0, Site: "a.example", AcceptedAt: now, Duplicates: entriesOf(7)},
	}
	ctx := t.Context()
	for range 2 {
		must(t, errors.Join(
			p.db.InsertSignatures(ctx, rows), p.db.InsertOwners(ctx, rows), p.db.InsertCosigners(ctx, rows.Slice(0, 100)),
			p.db.InsertExceptions(ctx, results), p.db.InsertOutcomes(ctx, results),
			p.db.InsertUploads(ctx, []Upload{{p.upload, "a.example", 9, now}}),
			p.db.InsertCertificates(ctx, []Certificate{{"a.example", [][]byte{{1}}, now}}),
		))
	}
	return p
}

func (p *pair) countsEverythingOnce(t *testing.T) {
	for query, want := range map[string]uint64{
		"SELECT count() FROM v_signed_hashes":                                            pairRows,
		"SELECT uniqExact(sha256) FROM v_signed_hashes":                                  pairRows,
		"SELECT count() FROM v_signed_hashes WHERE hash = " + literal(p.hashes[1][0][:]): 1,
		"SELECT count() FROM v_cosigners":                                                100,
		"SELECT count() FROM v_uploads WHERE finished_at IS NOT NULL":                    1,
		"SELECT count() FROM v_certificates":                                             1,
		"SELECT toUInt64(sum(duplicates)) FROM v_outcomes":                               7,
		"SELECT toUInt64(sum(bad_signatures)) FROM v_site_daily":                         2,
		"SELECT toUInt64(sum(duplicates)) FROM v_daily":                                  7,
		"SELECT toUInt64(sum(duplicates)) FROM v_batch_results WHERE done":               7,
		"SELECT count() FROM v_failures":                                                 0,
	} {
		if got, err := p.db.count(t.Context(), query); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", query, got, err, want)
		}
	}
	if batch, known, err := p.db.Batch(t.Context(), p.upload, 1); err != nil || !known || !batch.Done || len(batch.Duplicates) != 7 {
		t.Errorf("the batch is %+v, %v, %v", batch, known, err)
	}
}

func (p *pair) hashesLieByTheirLeadingBits(t *testing.T) {
	for place, hashes := range p.hashes {
		one := open(t, Config{URL: p.cluster.ServerURL(place)})
		for _, table := range []string{"owners_local", "signatures_local"} {
			if got, err := one.count(t.Context(), "SELECT uniqExact(hash) FROM "+table); err != nil || got != uint64(len(hashes)) {
				t.Errorf("%s of ClickHouse shard %d: %d hashes, %v, want %d", table, place, got, err, len(hashes))
			}
		}
		scanned := make(map[[32]byte]bool)
		for shard := 2 * place; shard < 2*place+2; shard++ {
			must(t, p.db.ScanHashes(t.Context(), shard, 4, func(some []byte) error {
				for _, h := range split(some) {
					scanned[[32]byte(h)] = true
				}
				return nil
			}))
		}
		if len(scanned) != len(hashes) {
			t.Errorf("the log's shards of ClickHouse shard %d have %d hashes, want %d", place, len(scanned), len(hashes))
		}
	}
}

func (p *pair) answersForTheShardThatIsThere(t *testing.T) {
	if owners := (map[[32]byte]Owner{}); p.db.Owners(t.Context(), join(p.hashes[0]), owners) != nil || len(owners) != len(p.hashes[0]) {
		t.Errorf("%d owners of %d are found", len(owners), len(p.hashes[0]))
	}
	for _, n := range []int{1, 500} { // one hash is asked for in another way than many
		if found, err := p.db.Hashes(t.Context(), p.hashes[0][:n]); err != nil || len(found) != n {
			t.Errorf("%d hashes of %d are found: %v", len(found), n, err)
		}
		if _, err := p.db.CoSigners(t.Context(), p.hashes[0][:n]); err != nil {
			t.Error(err)
		}
		if _, err := p.db.Hashes(t.Context(), p.hashes[1][:n]); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%d hashes of the ClickHouse shard that is away: %v", n, err)
		}
		var here, there []uuid.UUID
		for i := range n {
			here, there = append(here, uuid.UUID{3: byte(i), 4: byte(i >> 8)}), append(there, uuid.UUID{0xff, 3: byte(i), 4: byte(i >> 8)})
		}
		_, uploads := p.db.Uploads(t.Context(), here)
		_, progress := p.db.ProgressOf(t.Context(), here)
		must(t, errors.Join(uploads, progress))
		_, uploads = p.db.Uploads(t.Context(), there)
		_, progress = p.db.ProgressOf(t.Context(), there)
		if !errors.Is(uploads, ErrUnavailable) || !errors.Is(progress, ErrUnavailable) {
			t.Errorf("%d uploads of the ClickHouse shard that is away: %v, %v", n, uploads, progress)
		}
	}
}

// An insert that is repeated for hours, while a ClickHouse shard is away, leaves nothing on the others.
func (p *pair) storesNothingInPart(t *testing.T) {
	if err := p.db.InsertOwners(t.Context(), randomRows(rand.NewChaCha8([32]byte{4}), 100)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("an insert while a ClickHouse shard is away: %v", err)
	}
	if got, err := p.db.count(t.Context(), "SELECT uniqExact(hash) FROM owners_local"); err != nil || got != uint64(len(p.hashes[0])) {
		t.Errorf("%d hashes are stored, %v, want %d", got, err, len(p.hashes[0]))
	}
}

func (p *pair) startsWithWhatIsThere(t *testing.T) {
	again := open(t, p.cfg)
	must(t, errors.Join(again.Migrate(t.Context()), again.CheckShards(t.Context(), 4)))
	if err := again.CheckShards(t.Context(), 5); !isError[*ShardsError](err) {
		t.Error(err)
	}
}

func isError[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func (p *pair) refusesOtherShards(t *testing.T) {
	contains(t, open(t, Config{URL: p.cluster.URL()}).Migrate(t.Context()), "--clickhouse-cluster")
	single := newDB(t)
	single.found.Store(&layout{cluster: clustertest.Name, shards: 2})
	contains(t, single.checkEngines(t.Context()), "filled on one ClickHouse shard", "empty database")
	single.found.Store(&layout{cluster: clustertest.Name, shards: 1, replicated: true})
	contains(t, single.checkEngines(t.Context()), "ReplacingMergeTree", "has a Keeper: true")
	db := open(t, p.cfg)
	db.found.Store(&layout{cluster: clustertest.Name, shards: 3})
	contains(t, db.checkLayout(t.Context()), "has 3 shards", "filled on 2")
	// This server is the first ClickHouse shard, and gets a row of the second one.
	must(t, p.db.Exec(t.Context(), "TRUNCATE TABLE owners_local"))
	must(t, p.db.Exec(t.Context(), "INSERT INTO owners_local (hash) VALUES ("+literal(p.hashes[1][0][:])+")"))
	contains(t, p.db.checkOrder(t.Context()), "shard 1", "rows of shard 2")
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
