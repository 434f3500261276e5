package verify

// What one upload may cost, and who waits for it.

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"fmt"
	"slices"
	"testing"
	"time"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/testsite"
)

// newSlowSite makes a site with a P-521 certificate, known to f by name.
func newSlowSite(t testing.TB, f *fakeCerts, name string) *testsite.Site {
	t.Helper()
	ca, err := testsite.NewCA(testsite.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	site, err := ca.NewSite(name, testsite.SiteConfig{Curve: elliptic.P521()})
	if err != nil {
		t.Fatal(err)
	}
	f.serve(t, name, site)
	return site
}

// testVerification makes a verification under a site's leaves whose jobs nobody does unless the test does.
func testVerification(t testing.TB, site *testsite.Site) (*Stage, *verification) {
	t.Helper()
	s, err := New(Config{Producer: newMemoryLog(), Certs: &fakeCerts{}, Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	leaves := leavesOf(t, site)
	known := certs.Known{Leaves: leaves}
	return s, s.newVerification(site.Name, nil, known.Chains(), known.Keys())
}

// takeJobs takes all jobs that wait.
func takeJobs(t testing.TB, s *Stage) (all []job) {
	t.Helper()
	for s.jobs.Len() > 0 {
		j, done, err := s.jobs.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done()
		all = append(all, j)
	}
	return all
}

// garbage is a chunk of pairs whose signatures are all different and no good.
func garbage(first, n, length int) *recordpb.Chunk {
	c := &recordpb.Chunk{First: uint32(first), Hashes: randomBytes(uint64(first), n*record.HashSize), Signatures: randomBytes(uint64(first)+7, n*length)}
	for range n {
		c.SignatureLengths = record.AppendUint16(c.SignatureLengths, length)
	}
	return c
}

func TestJobsAreShort(t *testing.T) {
	var f fakeCerts
	s, v := testVerification(t, newSlowSite(t, &f, "slow.example"))
	v.add(garbage(0, 1000, 100), nil)
	pairs := 0
	for _, j := range takeJobs(t, s) {
		if j.price > maxJob || j.price == 0 {
			t.Errorf("a job of %s", j.price)
		}
		pairs += len(j.pairs)
	}
	if pairs != 1000 {
		t.Errorf("jobs of %d pairs", pairs)
	}
}

func TestAnUploadHasABudget(t *testing.T) {
	var f fakeCerts
	s, v := testVerification(t, newSlowSite(t, &f, "slow.example"))
	for first := 0; first < 30_000; first += 1000 {
		v.add(garbage(first, 1000, 100), nil)
	}
	price := time.Duration(0)
	for _, j := range takeJobs(t, s) {
		price += j.price
	}
	if price > budget || price < budget-10*time.Millisecond {
		t.Errorf("jobs of %s", price)
	}
	if each := v.keys[0].Verifier.Price(); v.limit != uint64(budget/each) {
		t.Errorf("the budget reaches %d pairs of %s", v.limit, each)
	}
}

// The decision says what the budget bought, so that a replay comes to the same.
func TestWhatTheBudgetDoesNotReachIsAnError(t *testing.T) {
	bothMemories(t, func(t *testing.T, memory int64) {
		var f fakeCerts
		l := newMemoryLog()
		site := newSite(t, &f, "example.com")
		s := newSource(site, "", mixed(50), 20)
		s.write(l)
		d := &recordpb.Decisions{
			Chains:    []*recordpb.Chain{{Certificates: site.Chains()[0]}},
			Decisions: []*recordpb.Decision{{Upload: s.upload[:], Chains: []uint32{0}, Reached: 33}},
		}
		l.append(&recordpb.Upload{Kind: &recordpb.Upload_Decisions{Decisions: d}})
		run(t, l, &f, memory, l.done)
		for i := 33; i < 50; i++ {
			if s.kinds[i] != isUnparsed {
				s.kinds[i] = reasonBudget
			}
		}
		check(t, l, s)
	})
	if len(reasonBudget) > record.MaxText || len(reasonManyLeaves) > record.MaxText {
		t.Error("a reason is too long for a record")
	}
}

// A whole upload with a key that is slow: what the budget bought is decided, and the rest is an error.
func TestASlowUploadIsDecidedAsFarAsItsBudgetReaches(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSlowSite(t, &f, "slow.example")
	good := newSource(site, "", goodPairs(1), 1)
	s := &source{site: site, attempt: [16]byte{1}, upload: [16]byte{2}}
	const pairs = 26_000
	for first := 0; first < pairs; first += 1000 {
		c := garbage(first, 1000, 100) // of a length that fits, and no DER, which is found at once
		c.Attempt, c.Site = s.attempt[:], site.Name
		s.chunks = append(s.chunks, c)
	}
	reached := int(budget / (3 * time.Millisecond))
	s.kinds = append(slices.Repeat([]string{isBad}, reached), slices.Repeat([]string{reasonBudget}, pairs-reached)...)
	s.write(l)
	good.write(l)
	run(t, l, &f, 1<<30, l.done)
	check(t, l, s, good)
	l.committed = 0
	run(t, l, &f, 0, l.done) // a replay, and it repeats every record
	check(t, l, s, good)
}

// Jobs of a slow site that came first don't hold up those of another one.
func TestSitesGetWorkersInTurns(t *testing.T) {
	var f fakeCerts
	s, slow := testVerification(t, newSlowSite(t, &f, "slow.example"))
	for first := 0; first < 5000; first += 1000 {
		slow.add(garbage(first, 1000, 100), nil)
	}
	fast := s.newVerification("fast.example", nil, nil, nil)
	known := certs.Known{Leaves: leavesOf(t, newSite(t, &f, "fast.example"))}
	fast.extend(known.Chains(), known.Keys())
	if _, done, err := s.jobs.Take(t.Context()); err != nil { // the slow one runs
		t.Fatal(err)
	} else {
		done()
	}
	fast.add(garbage(0, 10, 70), nil)
	for n := 1; ; n++ {
		j, done, err := s.jobs.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done()
		if j.v == fast {
			break
		}
		if n > 1 {
			t.Fatalf("%d jobs of the slow site came before the one of the fast site", n)
		}
	}
}

// One pair a thousand times, in one chunk and in several, is checked once.
func TestEqualPairsAreCheckedOnce(t *testing.T) {
	var f fakeCerts
	for _, slow := range []bool{false, true} {
		site := newSite(t, &f, "example.com")
		if slow {
			site = newSlowSite(t, &f, "example.com")
		}
		for _, kind := range []string{isGood, isBad} {
			l := newMemoryLog()
			s := repeatPair(newSource(site, kind, []string{kind, isGood}, 2), 1500)
			s.write(l)
			stage := run(t, l, &f, 1<<30, l.done)
			check(t, l, s)
			checked := counted(t, stage.metrics.verified)
			if want := map[bool]float64{false: 4, true: 2}[slow]; checked != want && checked != 2*want { // P-256: in each of two chunks
				t.Errorf("slow %v, %s: %v pairs were checked, want %v", slow, kind, checked, want)
			}
			l.committed = 0
			run(t, l, &f, 0, l.done)
			check(t, l, s)
		}
	}
}

// repeatPair repeats the two pairs of s until there are n, in chunks of a batch. Every fifth one is the second.
func repeatPair(s *source, n int) *source {
	from := s.chunks[0]
	out := &source{site: s.site, attempt: s.attempt, upload: s.upload}
	length := record.Uint16(from.SignatureLengths, 0)
	signatures := [][]byte{from.Signatures[:length], from.Signatures[length:]}
	for first := 0; first < n; first += record.BatchSize {
		c := &recordpb.Chunk{Attempt: s.attempt[:], Site: s.site.Name, First: uint32(first)}
		size := min(record.BatchSize, n-first)
		for i := range size {
			which := 0
			if i%5 == 4 {
				which = 1
			}
			c.Hashes = append(c.Hashes, from.Hashes[which*record.HashSize:(which+1)*record.HashSize]...)
			c.Signatures = append(c.Signatures, signatures[which]...)
			c.SignatureLengths = record.AppendUint16(c.SignatureLengths, len(signatures[which]))
			if record.Bit(from.Upper, which) {
				c.Upper = record.SetBit(c.Upper, i, size)
			}
			out.kinds = append(out.kinds, s.kinds[which])
		}
		out.chunks = append(out.chunks, c)
	}
	return out
}

// Pairs that differ in one thing alone are no equal pairs.
func TestAlmostEqualPairsAreCheckedEach(t *testing.T) {
	hash, other := bytes.Repeat([]byte{0xab}, record.HashSize), bytes.Repeat([]byte{0xac}, record.HashSize)
	c := &recordpb.Chunk{Upper: []byte{2}}
	add := func(hash []byte, signature string) {
		c.Hashes = append(c.Hashes, hash...)
		c.Signatures = append(c.Signatures, signature...)
		c.SignatureLengths = record.AppendUint16(c.SignatureLengths, len(signature))
	}
	add(hash, "one")
	add(hash, "one") // in upper case
	add(hash, "two")
	add(other, "one")
	add(hash, "oneo")
	add(hash, "one") // equals the first
	var found []string
	e := equalsPool.Get().(*equals)
	e.find(c, make([]byte, 6), func(index, first int) { found = append(found, fmt.Sprint(index, "=", first)) })
	if !slices.Equal(found, []string{"5=0"}) {
		t.Errorf("equal pairs: %v", found)
	}
}

// Each lone signing after the first of a site adds little to the log beside its own record.
func TestAChainIsLoggedOnce(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSite(t, &f, "example.com")
	var all []*source
	grown := func() (n int) {
		for key, values := range l.topics {
			for _, value := range values {
				if key == "uploads/0" {
					if r, err := record.DecodeUpload(value); err == nil && r.GetDecisions() == nil {
						continue
					}
				}
				n += len(value)
			}
		}
		return n
	}
	inBubble(t, l, &f, 1<<30, func(ctx context.Context) {
		for i := range 50 {
			before := grown()
			s := newSource(site, fmt.Sprint(i), goodPairs(1), 1)
			s.chunks[0].Seal = s.seal(-1)
			all = append(all, s)
			l.append(chunkRecord(s.chunks[0]))
			l.await(ctx, l.done)
			if n := grown() - before; i > 0 && n >= 400 {
				t.Errorf("signing %d adds %d bytes to the log", i, n)
			}
		}
		time.Sleep(chainAge)
		s := newSource(site, "later", goodPairs(1), 1)
		s.write(l)
		all = append(all, s)
		l.await(ctx, l.done)
	})
	check(t, l, all...)
	chains := 0
	for _, value := range l.topics["uploads/0"] {
		if r, err := record.DecodeUpload(value); err == nil {
			chains += len(r.GetDecisions().GetChains())
		}
	}
	if chains != 2 {
		t.Errorf("the chain was logged %d times, want once, and once more an hour later", chains)
	}
	// A process that starts at the last decision but one has never read the chain: it reads it back.
	l.committed = 40 * 2
	run(t, l, &f, 1<<30, l.done)
	check(t, l, all...)
}

// Where the record is gone that has a decision's chain, its upload can't be decided again: it goes to the dead letters.
func TestAChainThatIsGone(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSite(t, &f, "example.com")
	s := newSource(site, "", goodPairs(3), 10)
	s.write(l)
	leaf := leavesOf(t, site)[0].Key.Fingerprint
	l.append(&recordpb.Upload{Kind: &recordpb.Upload_Decisions{Decisions: &recordpb.Decisions{
		Leaves: [][]byte{leaf[:]}, ChainOffsets: []int64{0}, Decisions: []*recordpb.Decision{{Upload: s.upload[:], Chains: []uint32{0}}},
	}}})
	run(t, l, &f, 1<<30, l.done)
	if len(l.topics["deadletter/0"]) != 1 {
		t.Error("no dead letter")
	}
}
