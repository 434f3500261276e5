package verify

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/testsite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shards = 3

// newSite makes a site with a P-256 certificate, known to f by name.
func newSite(t testing.TB, f *fakeCerts, name string) *testsite.Site {
	t.Helper()
	ca, err := testsite.NewCA(testsite.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	site, err := ca.NewSite(name, testsite.SiteConfig{Curve: elliptic.P256()})
	if err != nil {
		t.Fatal(err)
	}
	f.serve(t, name, site)
	return site
}

// run works on the log until stop says so, and then ends as a crash does: nothing is finished. stop is called with the
// log's mutex held, after every change of the log.
//
// Everything that run starts lives in a synctest bubble. Time stands still there while anything works, so no machine is
// too slow for the bound on the waiting: a minute is over at once when the stage has come to rest elsewhere than at
// stop.
func run(t *testing.T, l *memoryLog, f *fakeCerts, memory int64, stop func() bool) *Stage {
	t.Helper()
	return runOn(t, &memoryPartition{log: l, next: l.committed}, l, f, memory, stop)
}

// runOn is run with a partition of the caller's, which reads l.
func runOn(t *testing.T, p Partition, l *memoryLog, f *fakeCerts, memory int64, stop func() bool) (s *Stage) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var crash func()
		s, crash = start(ctx, t, p, l, f, memory)
		if !l.await(ctx, stop) {
			t.Error("the stage came to rest elsewhere")
		}
		crash()
	})
	return s
}

// start makes a stage that works on p. crash ends it, and returns when all of its goroutines have ended.
func start(ctx context.Context, t *testing.T, p Partition, l *memoryLog, f *fakeCerts, memory int64) (s *Stage, crash func()) {
	t.Helper()
	s, err := New(Config{Producer: l, Certs: f, Shards: shards, Workers: 2, MemoryLimit: memory, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	f.enterBubble()
	working, stop := context.WithCancel(ctx)
	assigned, revoke := context.WithCancel(ctx)
	var running, handling sync.WaitGroup
	s.start(working, &running)
	handling.Go(func() {
		if err := s.handle(assigned, p); err != nil {
			t.Error(err)
		}
	})
	return s, func() {
		revoke()
		handling.Wait()
		synctest.Wait() // until the workers have passed over the jobs that were left
		if held := s.held.Load(); held != 0 {
			t.Errorf("%d bytes are still counted as held", held)
		}
		stop()
		running.Wait()
	}
}

func check(t testing.TB, l *memoryLog, sources ...*source) {
	t.Helper()
	got, err := l.read(shards)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		if err := got.check(s); err != nil {
			t.Error(err)
		}
	}
	if len(got.uploads) != len(sources) {
		t.Errorf("%d uploads were forwarded, want %d", len(got.uploads), len(sources))
	}
}

func mixed(n int) []string {
	kinds := make([]string, n)
	for i := range kinds {
		kinds[i] = []string{isGood, isGood, isBad, isGood, isUnparsed}[i%5]
	}
	return kinds
}

func TestEveryPairHasItsOutcome(t *testing.T) {
	for _, memory := range []int64{0, 20_000, 1 << 30} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			var f fakeCerts
			l := newMemoryLog()
			site := newSite(t, &f, "example.com")
			var sources []*source
			for i, n := range []int{1, 999, 1000, 1001, 2500, 0} {
				s := newSource(site, fmt.Sprint(i), mixed(n), 400)
				s.write(l)
				sources = append(sources, s)
			}
			run(t, l, &f, memory, l.done)
			check(t, l, sources...)
		})
	}
}

func TestAChunkMayCarryItsSeal(t *testing.T) {
	for _, memory := range []int64{0, 1 << 30} {
		var f fakeCerts
		l := newMemoryLog()
		s := newSource(newSite(t, &f, "example.com"), "", mixed(6), 1000)
		s.chunks[0].Seal = s.seal(-1)
		l.append(chunkRecord(s.chunks[0]))
		run(t, l, &f, memory, l.done)
		check(t, l, s)
	}
}

func TestNothingComesOfAnUploadWithoutASeal(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSite(t, &f, "example.com")
	cut, aborted, good := newSource(site, "1", mixed(2000), 1000), newSource(site, "2", mixed(1000), 1000), newSource(site, "3", mixed(10), 1000)
	l.append(chunkRecord(cut.chunks[0]))
	l.append(chunkRecord(aborted.chunks[0]))
	l.append(&recordpb.Upload{Kind: &recordpb.Upload_Abort{Abort: &recordpb.Abort{Attempt: aborted.attempt[:]}}})
	good.write(l)
	run(t, l, &f, 1<<30, l.done)
	check(t, l, good)
}

func TestWithoutACertificateEveryPairIsAnErrorWithTheReason(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSite(t, &f, "example.com")
	s := newSource(site, "", mixed(1500), 1000)
	s.write(l)
	f.err = &certs.Unavailable{Site: "example.com", Reason: "nobody home"}
	run(t, l, &f, 1<<30, l.done)
	for i, kind := range s.kinds {
		if kind != isUnparsed {
			s.kinds[i] = "nobody home"
		}
	}
	check(t, l, s)
}

func TestARotatedCertificateIsFetchedWhenSignaturesFail(t *testing.T) {
	for _, memory := range []int64{0, 1 << 30} {
		var f fakeCerts
		l := newMemoryLog()
		site := newSite(t, &f, "example.com")
		old := newSource(site, "old", mixed(10), 1000)
		old.write(l)
		run(t, l, &f, memory, l.done)

		if err := site.Rotate(testsite.SiteConfig{Curve: elliptic.P256()}); err != nil {
			t.Fatal(err)
		}
		f.serve(t, site.Name, site)
		s := newSource(site, "new", mixed(1500), 1000)
		s.write(l)
		run(t, l, &f, memory, l.done)
		check(t, l, old, s)
	}
}

// The decision that is first in the log stands, whatever the site serves when the upload is worked on again.
func TestTheFirstDecisionStands(t *testing.T) {
	for name, change := range map[string]func(testing.TB, *fakeCerts, *testsite.Site){
		"rotated": func(t testing.TB, f *fakeCerts, site *testsite.Site) {
			if err := site.Rotate(testsite.SiteConfig{Curve: elliptic.P256()}); err != nil {
				t.Fatal(err)
			}
			f.serve(t, site.Name, site)
			f.known = map[string]certs.Known{}
		},
		"gone": func(_ testing.TB, f *fakeCerts, _ *testsite.Site) { f.err = &certs.Unavailable{Reason: "gone"} },
	} {
		for _, memory := range []int64{0, 1 << 30} {
			t.Run(fmt.Sprint(name, memory), func(t *testing.T) {
				var f fakeCerts
				l := newMemoryLog()
				site := newSite(t, &f, "example.com")
				s := newSource(site, "", mixed(3000), 1000)
				s.write(l)
				sealed := l.end()
				sends := 0
				l.fault = func(topic string) (bool, error) { // forwarding fails half way
					if topic == record.TopicVerified {
						if sends++; sends > 1 {
							return false, errors.New("the log is away")
						}
					}
					return true, nil
				}
				run(t, l, &f, memory, func() bool { return sends > 3 })
				if l.end() == sealed {
					t.Fatal("nothing was decided before the crash")
				}
				l.fault = nil
				change(t, &f, site)
				run(t, l, &f, memory, l.done)
				check(t, l, s)
			})
		}
	}
}

// The sink stores what it is sent, durably. So nothing may be sent that follows from records which a power cut can take
// away. If a seal were lost, hashes would stay of an upload that was never accepted (I2). If a decision were lost, the
// upload could be decided in another way the next time (I5).
func TestNothingLeavesBeforeItsSealAndDecisionAreOnDisk(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	s := newSource(newSite(t, &f, "example.com"), "", mixed(1500), 1000)
	s.write(l)
	synctest.Test(t, func(t *testing.T) {
		var flushes atomic.Int32
		release := make(chan struct{})
		l.flush = func(ctx context.Context) error {
			flushes.Add(1)
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		_, crash := start(t.Context(), t, &memoryPartition{log: l}, l, &f, 1<<30)
		defer crash()
		time.Sleep(time.Minute) // in a bubble: until the stage has come to rest, and waits for the disk
		decided := l.end()
		if flushes.Load() != 1 || decided != int64(len(s.chunks))+2 || l.forwardedAt >= 0 {
			t.Fatalf("%d flushes, %d records in the log, %d on disk when something was forwarded; want one flush that waits, a "+
				"decision in the log and nothing forwarded", flushes.Load(), decided, l.forwardedAt)
		}
		close(release)
		if !l.await(t.Context(), l.done) {
			t.Error("the stage came to rest elsewhere")
		}
		if l.forwardedAt < int(decided) {
			t.Errorf("forwarded with %d of %d records on disk", l.forwardedAt, decided)
		}
	})
	check(t, l, s)
}

// A disk that is away for a while delays forwarding, and a crash meanwhile leaves nothing behind but the decision.
func TestForwardingWaitsForADiskThatIsAway(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	s := newSource(newSite(t, &f, "example.com"), "", mixed(1500), 1000)
	s.write(l)
	failures := 0
	l.flush = func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		failures++
		l.changed.Broadcast()
		return errors.New("the disk is away")
	}
	run(t, l, &f, 1<<30, func() bool { return failures == 3 })
	if l.forwardedAt >= 0 {
		t.Error("something was forwarded that isn't on disk")
	}
	failures = 0
	l.flush = func(context.Context) error {
		if failures++; failures < 3 {
			return errors.New("the disk is away")
		}
		return nil
	}
	run(t, l, &f, 1<<30, l.done)
	check(t, l, s)
}

func TestWhatCantBeUsedGoesToTheDeadLetters(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSite(t, &f, "example.com")
	l.mu.Lock()
	for i := range uint64(20) {
		l.topics["uploads/0"] = append(l.topics["uploads/0"], randomBytes(i, 50))
	}
	l.mu.Unlock()
	lost := newSource(site, "lost", mixed(3000), 1000)
	first := l.append(chunkRecord(lost.chunks[0]))
	l.append(chunkRecord(lost.chunks[1]))
	l.append(sealRecord(lost.seal(first))) // its third chunk is not there
	good := newSource(site, "good", mixed(5), 1000)
	good.write(l)
	run(t, l, &f, 1<<30, l.done)
	if got := len(l.topics["deadletter/0"]); got != 21 {
		t.Errorf("%d dead letters, want 21", got)
	}
	got, err := l.read(shards)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.check(good); err != nil {
		t.Error(err)
	}
	if len(got.pairs[lost.upload]) != 0 || len(got.uploads) != 1 {
		t.Error("something of an incomplete upload was forwarded")
	}
}

// An error that ends a partition or the whole stage is returned, because only the caller can start it again.
func TestErrorsOfTheLogAreReturned(t *testing.T) {
	s, err := New(Config{Producer: newMemoryLog(), Certs: &fakeCerts{}, Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("the offset is gone")
	if err := s.handle(t.Context(), brokenPartition{new(memoryPartition), gone}); !errors.Is(err, gone) {
		t.Errorf("a partition that can't be read: %v", err)
	}
	if err := s.Run(t.Context(), func(context.Context, log.GroupConfig) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("a group that can't be joined: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.handle(ctx, brokenPartition{new(memoryPartition), gone}); err != nil {
		t.Errorf("a partition that is revoked: %v", err)
	}
}

type brokenPartition struct {
	*memoryPartition
	err error
}

func (p brokenPartition) Fetch(context.Context) ([]log.Message, error) { return nil, p.err }
