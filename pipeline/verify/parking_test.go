package verify

// Uploads whose sites don't answer, in virtual time.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// sealedFor writes an upload of one record, with the pairs of s, for a site of any name.
func sealedFor(l *memoryLog, s *source, site, seed string) uuid.UUID {
	attempt, upload := uuid.NewSHA1(uuid.NameSpaceOID, []byte("attempt"+seed)), uuid.NewSHA1(uuid.NameSpaceOID, []byte("upload"+seed))
	c := s.chunks[0]
	l.append(chunkRecord(&recordpb.Chunk{
		Attempt: attempt[:], Site: site, Hashes: c.Hashes, Upper: c.Upper, Signatures: c.Signatures, SignatureLengths: c.SignatureLengths,
		Seal: &recordpb.Seal{Attempt: attempt[:], Upload: upload[:], Site: site, Count: uint64(len(s.kinds)), AcceptedMs: 1234},
	}))
	return upload
}

// decisionOf returns the first decision for an upload. The caller holds the log's mutex.
func (l *memoryLog) decisionOf(upload uuid.UUID) *recordpb.Decision {
	for _, value := range l.topics["uploads/0"] {
		r, err := record.DecodeUpload(value)
		if err != nil {
			continue
		}
		for _, d := range r.GetDecisions().GetDecisions() {
			if uuid.UUID(d.Upload) == upload {
				return d
			}
		}
	}
	return nil
}

// seen is await for what is dear to look at: it looks when the stage has come to rest, every tenth of a second of a
// bubble.
func (l *memoryLog) seen(ctx context.Context, reached func() bool) bool {
	for ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond)
		l.mu.Lock()
		is := reached()
		l.mu.Unlock()
		if is {
			return true
		}
	}
	return false
}

func TestThousandsOfSitesThatHangHoldUpNoOther(t *testing.T) {
	const many = 3000
	var f fakeCerts
	l := newMemoryLog()
	here := newSite(t, &f, "here.example")
	f.hang = ".away.example"
	pair := newSource(here, "pair", []string{isGood}, 1)
	var away []uuid.UUID
	for i := range many {
		away = append(away, sealedFor(l, pair, fmt.Sprintf("t%d.away.example", i), fmt.Sprint(i)))
	}
	behind := newSource(here, "behind", mixed(1), 1)
	behind.write(l)
	later := newSource(here, "later", []string{isGood}, 1)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		_, crash := start(ctx, t, &memoryPartition{log: l}, l, &f, 1<<30)
		defer crash()
		began := time.Now()
		if !l.seen(ctx, isForwarded(t, l, behind)) || time.Since(began) > time.Second {
			t.Errorf("an upload for a site that answers took %s", time.Since(began))
		}
		time.Sleep(10 * time.Second)
		later.write(l)
		if !l.seen(ctx, isForwarded(t, l, later)) || time.Since(began) > 11*time.Second {
			t.Errorf("an upload for a known site took %s", time.Since(began)-10*time.Second)
		}
		if !l.await(ctx, l.done) || time.Since(began) > decideWithin+time.Second {
			t.Errorf("everything was done after %s, want %s", time.Since(began), decideWithin)
		}
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range []uuid.UUID{away[0], away[many/2], away[many-1]} {
		if d := l.decisionOf(id); d == nil || len(d.Chains) > 0 || !strings.Contains(d.Reason, "has not answered") {
			t.Fatalf("decision %v", d)
		}
	}
}

// An upload that comes while others wait for its site has 30 seconds of its own.
func TestEachUploadHasItsOwnTime(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	here := newSite(t, &f, "here.example")
	f.hang = "away.example"
	pair := newSource(here, "pair", []string{isGood}, 1)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		_, crash := start(ctx, t, &memoryPartition{log: l}, l, &f, 0)
		defer crash()
		began := time.Now()
		first := sealedFor(l, pair, "away.example", "first")
		time.Sleep(20 * time.Second)
		second := sealedFor(l, pair, "away.example", "second")
		for _, u := range []struct {
			id uuid.UUID
			at time.Duration
		}{{first, decideWithin}, {second, 20*time.Second + decideWithin}} {
			l.await(ctx, func() bool { return l.decisionOf(u.id) != nil })
			if at := time.Since(began); at < u.at || at > u.at+time.Second {
				t.Errorf("decided after %s, want %s", at, u.at)
			}
		}
	})
}

// A process that stood still for an hour has not waited for the site meanwhile: what its looks came to says nothing, and
// there is another one.
func TestTimeInWhichTheProcessStoodStillDoesNotCount(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	s := newSource(newSite(t, &f, "here.example"), "", []string{isGood}, 1)
	s.write(l)
	synctest.Test(t, func(t *testing.T) {
		var stopped atomic.Int64
		looked, goOn := make(chan struct{}, 1), make(chan struct{})
		f.look = func(site string) ([]certs.Leaf, error) {
			if f.asked[""] > 1 {
				return slices.Clone(f.serving[site]), nil
			}
			looked <- struct{}{}
			<-goOn
			return nil, &certs.Unavailable{Site: site, Reason: "out of time"}
		}
		working, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		defer stop()
		f.enterBubble()
		stage, err := New(Config{
			Producer: l, Certs: &f, Shards: shards, Workers: 1, Backoff: time.Millisecond,
			Clock: func() time.Time { return time.Now().Add(time.Duration(stopped.Load())) },
		})
		if err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		defer running.Wait()
		stage.start(working, &running)
		running.Go(func() { _ = stage.handle(working, &memoryPartition{log: l}) })
		<-looked
		stopped.Store(int64(time.Hour))
		close(goOn)
		if !l.await(working, l.done) {
			t.Error("the upload was not forwarded")
		}
		stop()
	})
	check(t, l, s)
}
