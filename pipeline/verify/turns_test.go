package verify

// Who waits for whose signatures. Jobs are counted and not timed: nobody does them but the test.

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"countersign/pipeline/certs"
	"countersign/pipeline/record/recordpb"
)

// newIdleReader makes the reader of a partition of a stage whose workers and other goroutines don't run. The sites are
// known by their names.
func newIdleReader(t *testing.T, sites ...string) *reader {
	t.Helper()
	var f fakeCerts
	leaves := leavesOf(t, newSite(t, &f, "example.com"))
	f.known = make(map[string]certs.Known)
	for _, site := range sites {
		f.known[site] = certs.Known{Leaves: leaves}
	}
	l := newMemoryLog()
	s, err := New(Config{Producer: l, Certs: &f, Shards: shards, MemoryLimit: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	return newReader(s.newPartition(&memoryPartition{log: l}, new(errgroup.Group)))
}

// sender writes chunks of garbage in the name of a site, and seals nothing.
type sender struct {
	reader  *reader
	client  string
	site    string
	chunks  int // of each attempt; then comes another attempt
	sent    int
	attempt uuid.UUID
}

const pairsOfChunk = 10

func (s *sender) send(chunks int) {
	for range chunks {
		first := s.sent % s.chunks * pairsOfChunk
		if first == 0 {
			s.attempt = uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, s.client, s.site, s.sent))
		}
		c := garbage(first, pairsOfChunk, 70)
		c.Attempt, c.Site, c.Client = s.attempt[:], s.site, []byte(s.client)
		s.reader.handleChunk(c, int64(s.sent))
		s.sent++
	}
}

// Anybody may name any site, and need not seal what he sends. An upload for a site, from its first chunk on, waits for
// one job of each other client at most.
func TestUnsealedUploadsOfOthersForTheSameSiteHoldUpNobody(t *testing.T) {
	const victim = "victim.example"
	for name, c := range map[string]struct {
		clients, sites int // of the attackers
		most           int // jobs of others that a job of the honest client waits for
	}{
		"one attacker":                   {clients: 1, sites: 1, most: 1},
		"one who names many other sites": {clients: 1, sites: 40, most: 1},
		"ten attackers":                  {clients: 10, sites: 1, most: 10},
		"ten who name many other sites":  {clients: 10, sites: 40, most: 10},
	} {
		t.Run(name, func(t *testing.T) {
			sites := append([]string{victim}, numbered("other.example", c.sites)...)
			r := newIdleReader(t, sites...)
			var attackers []*sender
			for i := range c.clients {
				for _, site := range sites[:c.sites] {
					attackers = append(attackers, &sender{reader: r, client: fmt.Sprintf("attack%02d", i), site: site, chunks: 7})
				}
			}
			flood := func(chunks int) {
				for _, a := range attackers {
					a.send(chunks)
				}
			}
			flood(max(1, 400/len(attackers)))
			for range 30 { // the flood is under way
				takeJob(t, r.stage)
			}
			honest := &sender{reader: r, client: "honest..", site: victim, chunks: 10}
			for i := range honest.chunks {
				honest.send(1)
				flood(1) // it never ends
				for waited := 0; ; waited++ {
					if v := takeJob(t, r.stage).v; v.accounts[len(v.accounts)-1].name == honest.client {
						break
					} else if waited == c.most {
						t.Fatalf("chunk %d waits for more than %d jobs of others", i, c.most)
					}
				}
			}
		})
	}
}

// Chunks of a version that named no client are charged to their site alone: they wait like one client of it.
func TestChunksWithoutAClientHaveTurns(t *testing.T) {
	r := newIdleReader(t, "example.com")
	old := &sender{reader: r, site: "example.com", chunks: 100}
	named := &sender{reader: r, client: "attacker", site: "example.com", chunks: 100}
	named.send(50)
	old.send(50)
	olds := 0
	for range 40 {
		if len(takeJob(t, r.stage).v.accounts) == 1 {
			olds++
		}
	}
	if olds != 20 {
		t.Errorf("%d of 40 jobs were of chunks without a client, want 20", olds)
	}
}

func takeJob(t *testing.T, s *Stage) job {
	t.Helper()
	if s.jobs.Len() == 0 {
		t.Fatal("no job waits")
	}
	j, done, err := s.jobs.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done()
	return j
}

// What isn't held is read again in the same turns.
func TestReadingAgainHasTheSameTurns(t *testing.T) {
	r := newIdleReader(t, "example.com")
	known := r.stage.cfg.Certs.Known("example.com")
	put := func(client string) {
		v := r.stage.newVerification("example.com", []byte(client), known.Chains(), known.Keys())
		r.stage.readBacks.put(&readBack{partition: r.partition, verification: v,
			upload: &upload{seal: &recordpb.Seal{Site: "example.com", Client: []byte(client), Count: 5000}}})
	}
	for range 100 {
		put("attacker")
	}
	take := func() string {
		next, done, err := r.stage.readBacks.long.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done()
		return string(next.upload.seal.Client)
	}
	take()
	put("honest..")
	if first, second := take(), take(); first != "honest.." && second != "honest.." {
		t.Error("an upload waits for more than one of another client")
	}
}

// A site of which nothing is known is looked at when the first chunk comes, on the account of who sent it.
func TestLooksBeforeTheSealAreChargedToTheClient(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	s := newSource(newSite(t, &f, "example.com"), "", goodPairs(2), 1)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, crash := start(ctx, t, &memoryPartition{log: l}, l, &f, 1<<30)
		defer crash()
		s.chunks[0].Client = []byte("8 bytes.")
		l.append(chunkRecord(s.chunks[0]))
		time.Sleep(time.Second)
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.asked) != 1 || f.asked["8 bytes."] != 1 {
			t.Errorf("looks by client: %v", f.asked)
		}
	})
}
