package verify

// A log in memory, and the certificates of sites without a network.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
	"countersign/pipeline/signature"
	"countersign/testsite"
)

// memoryLog is every topic of one service. Appends can be made to fail, with the record stored or not.
type memoryLog struct {
	mu        sync.Mutex          // guards the fields below, but for flush
	changed   *sync.Cond          // on mu: a record was appended, or an offset committed
	topics    map[string][][]byte // "topic/partition"
	committed int64               // of uploads/0
	fault     func(topic string) (store bool, err error)

	// flush runs before each Flush, without mu, and may block or fail it. Nil: every Flush succeeds at once. It is set
	// before the stage runs.
	flush func(context.Context) error

	flushed     int // records of uploads/0 that a power cut leaves
	forwardedAt int // flushed when the first record of topic verified was sent; -1: none was sent
}

func newMemoryLog() *memoryLog {
	l := &memoryLog{topics: make(map[string][][]byte), forwardedAt: -1}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// await returns when reached, which is called with mu held after every change, reports true; or false when ctx ends
// before.
func (l *memoryLog) await(ctx context.Context, reached func() bool) bool {
	stop := context.AfterFunc(ctx, l.wake)
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !reached() {
		if ctx.Err() != nil {
			return false
		}
		l.changed.Wait()
	}
	return true
}

// wake wakes all that wait for a change. It takes mu, so that nobody is between looking and waiting.
func (l *memoryLog) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed.Broadcast()
}

type memoryAck struct {
	offset int64
	err    error
}

func (a memoryAck) Wait(context.Context) (int64, error) { return a.offset, a.err }

func (l *memoryLog) Send(ctx context.Context, topic string, partition int, value []byte) (Ack, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	store, err := true, error(nil)
	if l.fault != nil {
		store, err = l.fault(topic)
	}
	key := fmt.Sprintf("%s/%d", topic, partition)
	if topic == record.TopicVerified && l.forwardedAt < 0 {
		l.forwardedAt = l.flushed
	}
	if store {
		l.topics[key] = append(l.topics[key], slices.Clone(value))
	}
	l.changed.Broadcast()
	return memoryAck{int64(len(l.topics[key]) - 1), err}, nil
}

func (l *memoryLog) Flush(ctx context.Context) error {
	if l.flush != nil {
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushed = len(l.topics["uploads/0"])
	return nil
}

func (l *memoryLog) append(m *recordpb.Upload) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics["uploads/0"] = append(l.topics["uploads/0"], record.Encode(m))
	l.changed.Broadcast()
	return int64(len(l.topics["uploads/0"]) - 1)
}

func (l *memoryLog) end() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.topics["uploads/0"]))
}

// done reports whether everything in the log was worked off. The caller holds mu.
func (l *memoryLog) done() bool {
	return l.committed == int64(len(l.topics["uploads/0"]))
}

// memoryPartition is one assignment of uploads/0.
type memoryPartition struct {
	log  *memoryLog
	next int64
}

func (p *memoryPartition) ID() int      { return 0 }
func (p *memoryPartition) Start() int64 { return p.next }

func (p *memoryPartition) Fetch(ctx context.Context) ([]log.Message, error) {
	if !p.log.await(ctx, func() bool { return p.next < int64(len(p.log.topics["uploads/0"])) }) || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	to := min(p.next+3, int64(len(p.log.topics["uploads/0"])))
	messages := p.log.messages(p.next, to)
	p.next = to
	return messages, nil
}

func (l *memoryLog) messages(from, to int64) []log.Message {
	var out []log.Message
	for o := from; o < to; o++ {
		out = append(out, log.Message{Offset: o, Value: l.topics["uploads/0"][o]})
	}
	return out
}

func (p *memoryPartition) Commit(next int64) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.log.committed = max(p.log.committed, next)
	p.log.changed.Broadcast()
}

func (p *memoryPartition) ReadRange(_ context.Context, from, to int64, fn func(log.Message) error) error {
	p.log.mu.Lock()
	messages := p.log.messages(from, min(to, int64(len(p.log.topics["uploads/0"]))))
	p.log.mu.Unlock()
	for _, m := range messages {
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

// fakeCerts knows sites as package certs does, without a network: what a site serves at a look, and what it was seen
// serving.
type fakeCerts struct {
	mu      sync.Mutex
	known   map[string]certs.Known
	serving map[string][]certs.Leaf
	err     error                                   // of every look
	hang    string                                  // a site that doesn't answer, by the end of its name
	look    func(site string) ([]certs.Leaf, error) // in place of serving and err; called with mu held
	asked   map[string]int                          // looks, by client
}

func (f *fakeCerts) serve(t testing.TB, name string, site *testsite.Site) {
	leaves := leavesOf(t, site)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.make()
	f.serving[name] = leaves
}

func leavesOf(t testing.TB, site *testsite.Site) (leaves []certs.Leaf) {
	for _, ders := range site.Chains() {
		chain := certs.Chain{Certificates: ders}
		keys, err := new(fakeCerts).KeysOf([]certs.Chain{chain})
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, certs.Leaf{Chain: chain, Key: keys[0]})
	}
	return leaves
}

func (f *fakeCerts) make() {
	if f.known == nil {
		f.known, f.serving, f.asked = make(map[string]certs.Known), make(map[string][]certs.Leaf), make(map[string]int)
	}
}

// enterBubble makes what is known older than the bubble, whose clock starts again.
func (f *fakeCerts) enterBubble() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for site, known := range f.known {
		for i := range known.Leaves {
			known.Leaves[i].Seen = time.Now()
		}
		f.known[site] = certs.Known{Leaves: known.Leaves}
	}
}

func (f *fakeCerts) Known(site string) certs.Known {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[site]
}

func (f *fakeCerts) Await(ctx context.Context, site, client string) (certs.Known, error) {
	if known := f.Known(site); len(known.Leaves) > 0 {
		return known, nil
	}
	return f.lookNow(ctx, site, client)
}

// Look looks at once, unless a look serves that began after since. The Known of a look is that of a moment later than
// since.
func (f *fakeCerts) Look(ctx context.Context, site, client string, since time.Time) (certs.Known, error) {
	if known := f.Known(site); known.Looked.After(since) {
		return known, nil
	}
	return f.lookNow(ctx, site, client)
}

func (f *fakeCerts) lookNow(ctx context.Context, site, client string) (certs.Known, error) {
	if f.hang != "" && strings.HasSuffix(site, f.hang) {
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return certs.Known{}, ctx.Err()
		}
		return f.Known(site), &certs.Unavailable{Site: site, Reason: site + " has not answered", Err: certs.ErrNoAnswer}
	}
	time.Sleep(time.Millisecond) // in a bubble: so that the look begins after what asked for it
	f.mu.Lock()
	defer f.mu.Unlock()
	f.make()
	f.asked[client]++
	began := time.Now()
	leaves, err := slices.Clone(f.serving[site]), f.err
	if f.look != nil {
		leaves, err = f.look(site)
	}
	if err == nil && len(leaves) == 0 {
		err = &certs.Unavailable{Site: site, Reason: site + ": no such site"}
	}
	if err != nil {
		return f.known[site], err
	}
	has := make(map[[32]byte]bool)
	for i := range leaves {
		leaves[i].Seen = began
		has[leaves[i].Key.Fingerprint] = true
	}
	for _, old := range f.known[site].Leaves {
		if !has[old.Key.Fingerprint] && began.Sub(old.Seen) < certs.UsualGrace {
			leaves = append(leaves, old)
		}
	}
	f.known[site] = certs.Known{Leaves: leaves[:min(len(leaves), certs.MaxLeaves)], Looked: began}
	return f.known[site], nil
}

func (f *fakeCerts) KeysOf(chains []certs.Chain) (keys []certs.Key, _ error) {
	for _, chain := range chains {
		leaf, err := chain.Leaf()
		if err != nil {
			return nil, err
		}
		verifier, err := signature.NewKey(leaf.PublicKey)
		if err != nil {
			return nil, err
		}
		keys = append(keys, certs.Key{Fingerprint: chain.Fingerprint(), Verifier: verifier})
	}
	return keys, nil
}
