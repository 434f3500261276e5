package main

// Callers who upload, sign and ask at two processes all the time, and notice when one of the answers is untrue:
//
//   - what was accepted is never unknown, at either process, and ends exactly as it must;
//   - what one process says is done, or signed, the other one confirms;
//   - what was answered with outcome-unknown is either found or unknown, at both processes, and stays so;
//   - what was refused has left nothing behind;
//   - whoever gets no answer yet is told when to come back.
//
// A process that was killed, or that hangs, doesn't answer. Nothing is untrue in that.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"countersign/client"
	"countersign/internal/pause"
)

const (
	uploadPairs  = 1100                   // two batches
	betweenCalls = 500 * time.Millisecond // of one caller: the test is about answers, not about load
	pollsAtOnce  = 8

	signersOfEach = 2           // of each process
	callTimeout   = time.Minute // whoever says nothing for so long hangs
)

// seat is a place for one of the processes of a role, whichever has it now.
type seat struct{ atomic.Pointer[node] }

// sent is pairs that a caller sent, and what the callers were told of them.
type sent struct {
	entries []entry
	key     string // Idempotency-Key; empty: none
	phase   int64  // in which the call began
	id      uuid.UUID

	accepted bool    // for certain; guarded by callers.mu
	found    [2]bool // by process: it knows of the upload; guarded by callers.mu
	unknown  [2]bool // by process: it said 404; guarded by callers.mu
	complete [2]bool // by process; guarded by callers.mu
}

// callers are all who call.
type callers struct {
	t       *testing.T
	site    string
	sign    signer
	known   []entry // in the database already
	ingests [2]*seat

	ctx     context.Context // ends when no new calls are made
	cancel  context.CancelFunc
	working sync.WaitGroup

	phase    atomic.Int64    // goes up
	accepted [2]atomic.Int64 // by process: the newest phase of which it accepted an upload
	finished atomic.Int64    // the newest phase of which an upload is complete

	mu       sync.Mutex
	inFlight map[int64]int  // uploads and signings without a reply, by the phase in which they began; guarded by mu
	uploads  []*sent        // accepted, or perhaps accepted; guarded by mu
	refused  []*sent        // guarded by mu
	signed   []client.Pair  // "signed OK"; guarded by mu
	answers  map[string]int // by kind, for the test's log; guarded by mu
}

// newCallers begins to call two processes.
func newCallers(t *testing.T, site string, sign signer, known []entry, ingests [2]*seat) *callers {
	c := &callers{t: t, site: site, sign: sign, known: known, ingests: ingests,
		inFlight: make(map[int64]int), answers: make(map[string]int)}
	c.ctx, c.cancel = context.WithCancel(t.Context())
	for at := range ingests {
		c.working.Go(func() { c.repeat(func(n int) { c.upload(at, n) }) })
		for who := range signersOfEach {
			c.working.Go(func() { c.repeat(func(n int) { c.signOne(at, fmt.Sprintf("single %d %d %d", at, who, n)) }) })
		}
		c.working.Go(func() { c.repeat(func(int) { c.askSome(at) }) })
	}
	t.Cleanup(c.stop)
	return c
}

// stop returns when every call has ended.
func (c *callers) stop() {
	c.cancel()
	c.working.Wait()
}

func (c *callers) repeat(call func(n int)) {
	for n := 0; pause.For(c.ctx, betweenCalls) == nil; n++ {
		call(n)
	}
}

// request bounds one request. It is seen through when the callers are stopped.
func (c *callers) request() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.t.Context(), callTimeout)
}

// begin notes that an upload or a signing begins, and returns what notes that it has its reply.
func (c *callers) begin() (end func()) {
	phase := c.phase.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight[phase]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.inFlight[phase]--; c.inFlight[phase] == 0 {
			delete(c.inFlight, phase)
		}
	}
}

// answered notes a kind of answer for the test's log.
func (c *callers) answered(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[fmt.Sprintf(format, args...)]++
}

// reply is what kind of reply a call got.
type reply int

const (
	noReply  reply = iota
	refused        // nothing was kept: the same may be sent again
	accepted       // or perhaps accepted
)

// upload sends pairs of every kind. What is refused is sent again until it is accepted. Where no reply comes, it goes to
// the other process: it has a key, so it is no second upload.
func (c *callers) upload(at, n int) {
	key := fmt.Sprintf("upload-%d-%d", at, n)
	u := &sent{entries: mixedEntries(c.t, key, uploadPairs, c.sign, c.known), key: key, phase: c.phase.Load()}
	for {
		switch c.send(u, at) {
		case accepted:
			return
		case refused:
			u.phase = c.phase.Load()
		case noReply:
			at = 1 - at
		}
		if pause.For(c.t.Context(), betweenCalls) != nil {
			return
		}
	}
}

func (c *callers) send(u *sent, at int) reply {
	ctx, cancel := c.request()
	defer cancel()
	defer c.begin()()
	options := client.UploadOptions{IdempotencyKey: u.key}
	r, err := c.ingests[at].Load().UploadBody(ctx, c.site, bytes.NewReader(body(u.entries)), options)
	if err != nil {
		return c.refusal("upload", u, err)
	}
	c.answered("upload: accepted")
	c.mu.Lock()
	u.id, u.accepted = r.UUID, true
	c.uploads = append(c.uploads, u)
	c.mu.Unlock()
	raise(&c.accepted[at], u.phase)
	for i := range c.ingests {
		c.working.Go(func() { c.ask(u, i) })
	}
	return accepted
}

// signOne signs one hash at a process, and asks the other one who signed it. A signing that is refused is sent again in
// the end.
func (c *callers) signOne(at int, seed string) {
	p := pairs(seed, 0, 1, c.sign)[0]
	text := entry{hash: fmt.Sprintf("%x", p.Hash), signature: client.EncodeSignature(p.Signature), want: added}
	u := &sent{entries: []entry{text}, phase: c.phase.Load()}
	ctx, cancel := c.request()
	defer cancel()
	defer c.begin()()
	result, err := c.ingests[at].Load().Sign(ctx, c.site, p.Hash, p.Signature)
	if err != nil {
		if c.refusal("signing", u, err) == refused {
			c.mu.Lock()
			c.refused = append(c.refused, u)
			c.mu.Unlock()
		}
		return
	}
	c.answered("signing: %s", result)
	if result != client.Added {
		c.t.Errorf("signing a new hash: %v", result)
		return
	}
	c.mu.Lock()
	c.signed = append(c.signed, p)
	c.mu.Unlock()
	c.working.Go(func() {
		if reply, err := c.ingests[1-at].Load().lookUp(p.Hash); err == nil && reply[:4] != "200 " && reply[:4] != "503 " {
			c.t.Errorf(`process %d says "signed OK", and the other one: %s`, at, reply)
		}
	})
}

// refusal notes that pairs were not accepted, or not for certain.
func (c *callers) refusal(call string, u *sent, err error) reply {
	p, ok := errors.AsType[*client.Problem](err)
	if !ok {
		c.answered("%s: none", call)
		return noReply
	}
	c.answered("%s: %d %s", call, p.Status, p.Title)
	id, named := p.Upload()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case named && (p.Status == http.StatusServiceUnavailable || p.Status == http.StatusGatewayTimeout):
		u.id, u.accepted = id, p.Status == http.StatusGatewayTimeout // that is accepted, and not finished in time
		c.uploads = append(c.uploads, u)
	case p.Status == http.StatusServiceUnavailable && p.RetryAfter > 0:
		return refused
	default:
		c.t.Errorf("%s: %v (Retry-After %s)", call, p, p.RetryAfter)
	}
	return accepted
}

// askSome asks a process about some of the uploads of which it hasn't said the last word yet.
func (c *callers) askSome(at int) {
	c.mu.Lock()
	var open []*sent
	for _, u := range c.uploads {
		if !u.complete[at] && !u.unknown[at] {
			open = append(open, u)
		}
	}
	c.mu.Unlock()
	rand.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
	var asking errgroup.Group
	for _, u := range open[:min(pollsAtOnce, len(open))] {
		asking.Go(func() error { c.ask(u, at); return nil })
	}
	_ = asking.Wait()
}

// ask asks a process how far an upload is, and compares that with what it and the other one have said.
func (c *callers) ask(u *sent, at int) {
	ctx, cancel := c.request()
	defer cancel()
	s, err := c.ingests[at].Load().Status(ctx, u.id)
	if c.excused(err) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if u.unknown[at] = true; u.accepted || u.found != [2]bool{} || !isUnknown(err) {
			c.t.Errorf("upload %s (accepted: %v, found: %v) at process %d: %v", u.id, u.accepted, u.found, at, err)
		}
		return
	}
	if u.found[at] = true; u.unknown != [2]bool{} {
		c.t.Errorf("upload %s was unknown (%v), and process %d says %+v", u.id, u.unknown, at, s)
	}
	if !s.Done() || u.complete[at] {
		return
	}
	if want := count(u.entries); s != want {
		c.t.Errorf("upload %s at process %d: %+v, want %+v", u.id, at, s, want)
	}
	u.complete[at] = true
	raise(&c.finished, u.phase)
	c.working.Go(func() { c.confirm(u, 1-at) })
}

// confirm asks a process about an upload that the other one said to be complete.
func (c *callers) confirm(u *sent, at int) {
	ctx, cancel := c.request()
	defer cancel()
	n, want := c.ingests[at].Load(), count(u.entries)
	if s, err := n.Status(ctx, u.id); !c.excused(err) && (err != nil || s != want) {
		c.t.Errorf("upload %s is complete at the other process, and at process %d: %+v, %v", u.id, at, s, err)
	}
	for b := range want.DoneBatch {
		r, err := n.Batch(ctx, u.id, b+1)
		if c.excused(err) {
			continue
		}
		if err != nil {
			c.t.Errorf("upload %s, batch %d is done at the other process, and at process %d: %v", u.id, b+1, at, err)
		} else if diff := compare(r, u.entries[b*1000:min((b+1)*1000, len(u.entries))]); diff != "" {
			c.t.Errorf("upload %s, batch %d at process %d: %s", u.id, b+1, at, diff)
		}
	}
}

// askNewcomer asks a process that has just started about what the others have told. Then it is stopped.
func (c *callers) askNewcomer(n *node) {
	c.t.Helper()
	c.mu.Lock()
	uploads, signed := slices.Clone(c.uploads), slices.Clone(c.signed)
	accepted := make([]bool, len(uploads))
	for i, u := range uploads {
		accepted[i] = u.accepted
	}
	c.mu.Unlock()
	ctx, cancel := c.request()
	defer cancel()
	for i, u := range uploads {
		if s, err := n.Status(ctx, u.id); accepted[i] && err != nil && !c.excused(err) {
			c.t.Errorf("a process that has just started says of upload %s: %+v, %v", u.id, s, err)
		}
	}
	for _, p := range signed {
		if reply, err := n.lookUp(p.Hash); err != nil || reply[:4] != "200 " && reply[:4] != "503 " {
			c.t.Errorf("a process that has just started says of a hash that was signed: %s, %v", reply, err)
		}
	}
	n.stop()
}

// excused reports whether an error is no answer, or an answer that tells when to ask again.
func (c *callers) excused(err error) bool {
	if err == nil {
		return false
	}
	p, ok := errors.AsType[*client.Problem](err)
	if !ok {
		c.answered("question: none")
		return true
	}
	c.answered("question: %d %s", p.Status, p.Title)
	return p.Status == http.StatusServiceUnavailable && p.RetryAfter > 0
}

func isUnknown(err error) bool {
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Status == http.StatusNotFound
}

// raise makes a number at least as large as another.
func raise(n *atomic.Int64, to int64) {
	for was := n.Load(); was < to && !n.CompareAndSwap(was, to); was = n.Load() {
	}
}

// next begins a phase.
func (c *callers) next(what string) {
	c.t.Helper()
	c.t.Log(what)
	c.phase.Add(1)
}

// awaitAccepted returns when the processes have accepted uploads that were sent in this phase.
func (c *callers) awaitAccepted(by ...int) {
	c.t.Helper()
	c.await("uploads are accepted", func() bool {
		for _, at := range by {
			if c.accepted[at].Load() < c.phase.Load() {
				return false
			}
		}
		return true
	})
}

// awaitFinished returns when an upload that was sent in this phase is complete.
func (c *callers) awaitFinished() {
	c.t.Helper()
	c.await("an upload is complete", func() bool { return c.finished.Load() >= c.phase.Load() })
}

// awaitReplies returns when every upload and signing that began before this phase has its reply, whatever it is.
func (c *callers) awaitReplies() {
	c.t.Helper()
	c.await("every earlier call has its reply", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for phase := range c.inFlight {
			if phase < c.phase.Load() {
				return false
			}
		}
		return true
	})
}

// refusedAtOnce returns when a process has refused an upload within the time that a caller may have to wait for that. What
// it refused is sent again in the end.
func (c *callers) refusedAtOnce(at int) {
	c.t.Helper()
	const bound = 5 * time.Second
	n := 0
	c.await("an upload is refused at once", func() bool {
		n++
		key := fmt.Sprintf("refused-%d-%d-%d", at, c.phase.Load(), n)
		u := &sent{entries: good(key, 20, c.sign), key: key, phase: c.phase.Load()}
		begun := time.Now()
		if c.send(u, at) != refused || time.Since(begun) > bound {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.refused = append(c.refused, u)
		return true
	})
}

// doubtful are the uploads that may be accepted.
func (c *callers) doubtful() (found []*sent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.uploads {
		if !u.accepted {
			found = append(found, u)
		}
	}
	return found
}

func (c *callers) await(what string, is func() bool) {
	c.t.Helper()
	begun := time.Now()
	for ; !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > patience || c.t.Failed() {
			c.t.Fatalf("after %s it is not so that %s", time.Since(begun), what)
		}
	}
	c.t.Logf("after %s: %s", time.Since(begun).Round(time.Millisecond), what)
}

// settle compares everything that was told with what it came to. The callers are stopped, and all processes are well.
func (c *callers) settle() {
	c.t.Helper()
	here, there := c.ingests[0].Load(), c.ingests[1].Load()
	doubtful := c.doubtful()
	accepted := 0
	for _, u := range doubtful {
		c.await("both processes know whether "+u.id.String()+" was accepted", func() bool {
			for at := range c.ingests {
				if !u.found[at] && !u.unknown[at] {
					c.ask(u, at)
				}
			}
			return (u.found[0] || u.unknown[0]) && (u.found[1] || u.unknown[1])
		})
		c.working.Wait()
		if u.accepted = u.found[0]; u.accepted {
			accepted++
		} else {
			c.refused = append(c.refused, u) // as the answer says: send it again
		}
	}
	for _, u := range c.uploads {
		if !u.accepted {
			continue
		}
		here.expect(u.id, u.entries)
		if s, err := there.Wait(deadline(c.t, patience), u.id, nil); err != nil || s != count(u.entries) {
			c.t.Errorf("upload %s at the other process: %+v, %v", u.id, s, err)
		}
	}
	var again []entry
	for _, u := range c.refused {
		again = append(again, u.entries...)
	}
	here.expect(here.upload(c.site, again), again) // nothing was left of them: their hashes are new
	for _, p := range c.signed {
		for _, n := range []*node{here, there} {
			if reply, err := n.lookUp(p.Hash); err != nil || reply[:4] != "200 " {
				c.t.Errorf("a hash that was signed: %s, %v", reply, err)
			}
		}
	}
	c.t.Logf("%d uploads and calls, %d of them in doubt, of which %d were accepted; %d refused; %d signed; the answers: %v",
		len(c.uploads), len(doubtful), accepted, len(c.refused), len(c.signed), c.answers)
}
