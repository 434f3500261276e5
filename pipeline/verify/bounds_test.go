package verify

// Who must not wait for whom, and what must not grow.

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// single writes an upload of one record for every seed. All hold the pairs of s.
func single(l *memoryLog, s *source, seeds ...string) {
	for _, seed := range seeds {
		c := *s
		c.attempt, c.upload = uuid.NewSHA1(uuid.NameSpaceOID, []byte("attempt"+seed)), uuid.NewSHA1(uuid.NameSpaceOID, []byte("upload"+seed))
		chunk := &recordpb.Chunk{
			Attempt: c.attempt[:], Site: c.site.Name, Hashes: s.chunks[0].Hashes, Upper: s.chunks[0].Upper,
			Signatures: s.chunks[0].Signatures, SignatureLengths: s.chunks[0].SignatureLengths, Seal: c.seal(-1),
		}
		l.append(chunkRecord(chunk))
	}
}

func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}

// isForwarded says whether all of s was. The caller holds the log's mutex.
func isForwarded(t testing.TB, l *memoryLog, s *source) func() bool {
	return func() bool {
		got, err := l.read(shards)
		if err != nil {
			t.Fatal(err)
		}
		return got.check(s) == nil
	}
}

// decide appends a decision for s by the chains that its site has now.
func (s *source) decide(l *memoryLog) {
	d := &recordpb.Decision{Upload: s.upload[:]}
	var chains []*recordpb.Chain
	for i, ders := range s.site.Chains() {
		chains = append(chains, &recordpb.Chain{Certificates: ders})
		d.Chains = append(d.Chains, uint32(i))
	}
	l.append(&recordpb.Upload{Kind: &recordpb.Upload_Decisions{Decisions: &recordpb.Decisions{
		Chains: chains, Decisions: []*recordpb.Decision{d},
	}}})
}

func TestASiteThatHangsHoldsUpNoOther(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	away, here := newSite(t, &f, "away.example"), newSite(t, &f, "here.example")
	f.hang = away.Name
	single(l, newSource(away, "away", []string{isGood}, 1), numbered("away", 1000)...)
	good := newSource(here, "good", mixed(1200), 1000)
	good.write(l)
	run(t, l, &f, 1<<30, isForwarded(t, l, good))
}

// A replay needs the certificates that the log names, and not the site.
func TestADecidedUploadNeedsNoSite(t *testing.T) {
	for _, memory := range []int64{0, 1 << 30} {
		var f fakeCerts
		l := newMemoryLog()
		away, here := newSite(t, &f, "away.example"), newSite(t, &f, "here.example")
		f.hang = away.Name
		decided, other := newSource(away, "decided", mixed(1200), 1000), newSource(here, "other", mixed(10), 1000)
		decided.write(l)
		decided.decide(l)
		other.write(l)
		run(t, l, &f, memory, l.done)
		check(t, l, decided, other)
	}
}

// watchedPartition counts the readings that are under way, and holds up those of more than one record until the test
// ends.
type watchedPartition struct {
	*memoryPartition
	now, most atomic.Int64
	hold      bool
}

func (p *watchedPartition) ReadRange(ctx context.Context, from, to int64, fn func(log.Message) error) error {
	n := p.now.Add(1)
	defer p.now.Add(-1)
	for was := p.most.Load(); n > was && !p.most.CompareAndSwap(was, n); was = p.most.Load() {
	}
	if p.hold && to > from+1 {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(time.Millisecond) // in a bubble: until everyone has begun to read who may
	return p.memoryPartition.ReadRange(ctx, from, to, fn)
}

// What is read again is memory that nobody counts: only so many may be at it, in all partitions together (I6).
func TestFewUploadsAreReadAgainAtATime(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	single(l, newSource(newSite(t, &f, "example.com"), "", []string{isGood}, 1), numbered("", 200)...)
	p := &watchedPartition{memoryPartition: &memoryPartition{log: l}}
	runOn(t, p, l, &f, 0, l.done)
	if most := p.most.Load(); most < maxShortReads || most > maxShortReads+1 { // and the forwarder
		t.Errorf("%d uploads were read again at once, want %d or, with the forwarder's, %d", most, maxShortReads, maxShortReads+1)
	}
}

func TestASingleSigningDoesNotWaitForLargeUploads(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSite(t, &f, "example.com")
	for i := range 2 * maxLongReads {
		newSource(site, fmt.Sprint("large", i), mixed(1002), 1000).write(l)
	}
	s := newSource(site, "small", mixed(6), 1000)
	s.chunks[0].Seal = s.seal(-1)
	l.append(chunkRecord(s.chunks[0]))
	p := &watchedPartition{memoryPartition: &memoryPartition{log: l}, hold: true}
	runOn(t, p, l, &f, 0, isForwarded(t, l, s))
}

func TestACertificateIsSentOnceARound(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	single(l, newSource(newSite(t, &f, "example.com"), "", []string{isGood}, 1), numbered("", 300)...)
	run(t, l, &f, 1<<30, l.done)
	sent := 0
	for shard := range shards {
		for _, value := range l.topics[fmt.Sprintf("verified/%d", shard)] {
			m, err := record.DecodeVerified(value)
			if err != nil {
				t.Fatal(err)
			}
			sent += len(m.GetOutcomes().GetCertificates())
		}
	}
	if sent != 1 {
		t.Errorf("one certificate was sent to the shards %d times", sent)
	}
}

// A record of decisions that no broker takes would stop its partition for ever.
func TestARecordOfDecisionsFits(t *testing.T) {
	const largest = 64 << 10 // as package certs bounds a chain
	for _, small := range []int{1000, 40_000} {
		b := decisionsBuilder{logged: func([32]byte) (int64, bool) { return 0, false }}
		add := func(seed uint64, chains uint64, size int) {
			a := announcement{failing: string(bytes.Repeat([]byte("r"), record.MaxText))}
			for i := range chains {
				a.chains = append(a.chains, certs.Chain{Certificates: [][]byte{randomBytes(seed*100+i, size)}})
			}
			b.add(a)
		}
		for seed := uint64(0); !b.full(); seed++ {
			if b.bytes+2*small+5000 > maxDecisionsBytes { // the worst time for a large one
				add(1<<20, maxDecisionLeaves, largest)
				break
			}
			add(seed, 2, small)
		}
		b.number()
		if n := len(record.Encode(&recordpb.Upload{Kind: &recordpb.Upload_Decisions{Decisions: &b.record}})); n > record.MaxBytes {
			t.Errorf("a record of decisions has %d bytes", n)
		}
	}
}

func TestDecisionsShareTheirChains(t *testing.T) {
	r := newRecentDecisions()
	der := randomBytes(1, 1000)
	add := func(root byte) *decision {
		chain := r.share(certs.Chain{Certificates: [][]byte{bytes.Clone(der), {root}}})
		return r.add(uuid.New(), &recordpb.Decision{Chains: []uint32{0}}, []certs.Chain{chain})
	}
	one, two, other := add(1), add(1), add(2)
	if &one.chains[0].Certificates[0][0] != &two.chains[0].Certificates[0][0] {
		t.Error("each decision keeps the same chain for itself")
	}
	if !bytes.Equal(other.chains[0].Certificates[1], []byte{2}) {
		t.Error("a chain was taken for another one with the same leaf")
	}
}

// Forwarding is one upload after the other: it must not do again what deciders did side by side.
func TestTheForwarderVerifiesNothingThatWasVerified(t *testing.T) {
	for _, memory := range []int64{0, 1 << 30} {
		var f fakeCerts
		l := newMemoryLog()
		s := newSource(newSite(t, &f, "example.com"), "", mixed(2500), 1000)
		s.write(l)
		stage := run(t, l, &f, memory, l.done)
		check(t, l, s)
		if got := counted(t, stage.metrics.verified); got != 2000 {
			t.Errorf("memory %d: %v signatures were checked for 2000 pairs that were parsed", memory, got)
		}
	}
}

func counted(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	metrics, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return metrics[0].Metric[0].Counter.GetValue()
}

// The sink can announce single signings before their rows are stored, if no claim of another kind is in their records.
func TestSingleSigningsHaveRecordsOfTheirOwn(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSite(t, &f, "example.com")
	var sources []*source
	for i := range 20 {
		s := newSource(site, fmt.Sprint(i), mixed(3), 1000)
		s.chunks[0].Seal = s.seal(-1)
		if i%2 == 1 {
			s = newSource(site, fmt.Sprint(i), []string{isGood}, 1000)
			s.chunks[0].Seal = s.seal(-1)
			s.chunks[0].Seal.Single = true
		}
		l.append(chunkRecord(s.chunks[0]))
		sources = append(sources, s)
	}
	run(t, l, &f, 1<<30, l.done)
	check(t, l, sources...)
	for shard := range shards {
		for _, value := range l.topics[fmt.Sprintf("verified/%d", shard)] {
			m, err := record.DecodeVerified(value)
			if err != nil {
				t.Fatal(err)
			}
			kinds := make(map[bool]bool)
			for _, c := range m.GetBlock().GetClaims() {
				kinds[c.Single] = true
			}
			for _, o := range m.GetOutcomes().GetOutcomes() {
				kinds[o.Single] = true
			}
			if len(kinds) > 1 {
				t.Errorf("a record of shard %d has single signings and others", shard)
			}
		}
	}
}
