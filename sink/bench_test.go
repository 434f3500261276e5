package sink

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// BenchmarkClaims is what 100,000 RSA-2048 claims cost the stage in processor time, ClickHouse and Kafka apart: records
// of eight shards as verify writes them, batches of one upload, new hashes each time ("new") or the same ones
// ("duplicate").
func BenchmarkClaims(b *testing.B) {
	b.Run("new", func(b *testing.B) { benchmark(b, true) })
	b.Run("duplicate", func(b *testing.B) { benchmark(b, false) })
}

const benchShards, benchClaims = 8, 100_000

func benchmark(b *testing.B, renew bool) {
	n := &null{done: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	partitions := make([]*feed, benchShards)
	for i := range partitions {
		partitions[i] = &feed{id: i, n: n, messages: make(chan []log.Message, 1)}
	}
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{
			Store: n, Shards: benchShards,
			Send: func(context.Context, string, int, []byte) error { return nil },
			Consume: func(ctx context.Context, handle handler) error {
				for _, p := range partitions[1:] {
					go handle(ctx, p)
				}
				return handle(ctx, partitions[0])
			},
		})
	}()
	var cpu time.Duration
	round := func(serial int) {
		b.StopTimer()
		hashSerial := 0
		if renew {
			hashSerial = serial
		}
		runs := benchLog(serial, hashSerial)
		for _, run := range runs {
			n.left.Add(int64(len(run)))
		}
		b.StartTimer()
		start := cpuTime()
		for i, run := range runs {
			partitions[i].messages <- run
		}
		<-n.done
		cpu += cpuTime() - start
	}
	round(1)
	b.ReportAllocs()
	b.ResetTimer()
	cpu = 0
	for i := range b.N {
		round(i + 2)
	}
	b.ReportMetric(cpu.Seconds()*1000/float64(b.N), "cpu-ms/100k")
	cancel()
	<-ended
}

// benchLog is one upload's claims as records of some 300 KB, by shard.
func benchLog(serial, hashSerial int) [][]log.Message {
	runs := make([][]log.Message, benchShards)
	blocks := make([]*recordpb.Block, benchShards)
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id, uint64(serial))
	signature := make([]byte, 256)
	flush := func(shard int) {
		if blocks[shard] != nil {
			runs[shard] = append(runs[shard], log.Message{Offset: int64(len(runs[shard])),
				Value: record.Encode(&recordpb.Verified{Kind: &recordpb.Verified_Block{Block: blocks[shard]}})})
		}
		blocks[shard] = nil
	}
	for batch := range uint32(benchClaims / record.BatchSize) {
		parts := make([]*recordpb.Claims, benchShards)
		for i := range record.BatchSize {
			shard := i % benchShards
			if parts[shard] == nil {
				parts[shard] = &recordpb.Claims{Upload: id, Batch: batch + 1, Site: "bench.example", AcceptedMs: 1,
					Signers: []*recordpb.Signer{{Fingerprint: make([]byte, 32), Algorithm: "RSA-2048"}}}
			}
			h := hashOf(shard, benchShards, hashSerial*benchClaims+int(batch)*record.BatchSize+i)
			c := parts[shard]
			c.Hashes, c.Indexes = append(c.Hashes, h[:]...), record.AppendUint16(c.Indexes, i)
			c.Signatures, c.SignatureLengths = append(c.Signatures, signature...), record.AppendUint16(c.SignatureLengths, len(signature))
		}
		for shard, c := range parts {
			if blocks[shard] == nil {
				blocks[shard] = new(recordpb.Block)
			}
			if blocks[shard].Claims = append(blocks[shard].Claims, c); len(blocks[shard].Claims) == 8 {
				flush(shard)
			}
		}
	}
	for shard := range blocks {
		flush(shard)
	}
	return runs
}

// feed is a partition that a benchmark fills.
type feed struct {
	id       int
	n        *null
	next     int64
	last     atomic.Int64
	messages chan []log.Message
}

func (f *feed) ID() int      { return f.id }
func (f *feed) Start() int64 { return 0 }

func (f *feed) Fetch(ctx context.Context) ([]log.Message, error) {
	select {
	case run := <-f.messages:
		for i := range run {
			run[i].Offset = f.next
			f.next++
		}
		return run, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *feed) ReadRange(context.Context, int64, int64, func(log.Message) error) error {
	return log.ErrOffsetGone
}

func (f *feed) Commit(next int64) {
	if f.n.left.Add(f.last.Swap(next)-next) == 0 {
		f.n.done <- struct{}{}
	}
}

// null is a store that is infinitely fast and knows nothing.
type null struct {
	left atomic.Int64  // records
	done chan struct{} // all are committed
}

func (*null) InsertSignatures(context.Context, *store.HashRows) error        { return nil }
func (*null) InsertOwners(context.Context, *store.HashRows) error            { return nil }
func (*null) InsertCosigners(context.Context, *store.HashRows) error         { return nil }
func (*null) InsertExceptions(context.Context, []store.ResultRow) error      { return nil }
func (*null) InsertOutcomes(context.Context, []store.ResultRow) error        { return nil }
func (*null) InsertUploads(context.Context, []store.Upload) error            { return nil }
func (*null) InsertCertificates(context.Context, []store.Certificate) error  { return nil }
func (*null) CountHashes(context.Context, int, int) (uint64, error)          { return 4 << 20, nil }
func (*null) ScanHashes(context.Context, int, int, func([]byte) error) error { return nil }
func (*null) Owners(context.Context, []byte, map[[32]byte]store.Owner) error { return nil }

// cpuTime is the processor time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
