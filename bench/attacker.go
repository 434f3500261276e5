package bench

// What attacks have in common: the addresses they come from, their pace, and what they were answered. An attack is
// bounded in number and rate, so that it costs this process little: the service has to be under attack, and not short
// of the cores that it shares with its attackers.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"countersign/internal/pause"
)

// attack is one kind of harm. start begins it and returns; it ends with the context.
type attack struct {
	name, title string
	unanswered  bool // its requests are not meant to be answered
	start       func(ctx context.Context, f *front)
}

// front is an attack under way.
type front struct {
	attack
	server *server
	from   []netip.Addr
	dealt  atomic.Int64   // connections
	group  sync.WaitGroup // its goroutines
	tally
}

// tally is what became of an attack's requests. It is safe for concurrent use.
type tally struct {
	begun atomic.Int64 // requests that were begun

	mu        sync.Mutex
	lost      int // connections that ended, or could not be made, without an answer
	firstLost error
	uploads   int         // of them, uploads that were accepted
	bytes     int64       // of their bodies, decoded
	statuses  map[int]int // answers by status
	wrong     []string    // answers that nobody should get
	accepted  []accepted  // some of the uploads that were accepted
}

// accepted is an upload of an attacker that the service took, and the counts that are right for it.
type accepted struct {
	id    string
	right func(counts) bool
}

const (
	keptAccepted = 40 // uploads of an attack whose results are asked for
	keptWrong    = 10
)

// dial makes a connection. Connections are dealt to the addresses in turn.
func (f *front) dial() *conn {
	return f.server.dialFrom(f.from[int(f.dealt.Add(1)-1)%len(f.from)])
}

// underway is how many requests an attack must have begun before the honest user begins.
const underway = 4

// waitUnderway returns when the attack has begun so many requests, and has met the service's answer.
func (f *front) waitUnderway(ctx context.Context) error {
	for f.begun.Load() < underway || !f.unanswered && !f.met() {
		if err := pause.For(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// met says whether a request has ended.
func (f *front) met() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.statuses) > 0 || f.lost > 0
}

// paced calls do n times, or until ctx ends if n is 0, rate times a second, from so many goroutines with a connection
// each. Calls that are late are made up for as soon as a goroutine is free, but no sooner.
func (f *front) paced(ctx context.Context, n int, rate float64, workers int, do func(ctx context.Context, c *conn, i int)) {
	var next atomic.Int64
	start := time.Now()
	for range workers {
		f.group.Go(func() {
			c := f.dial()
			defer c.close()
			for {
				i := int(next.Add(1)) - 1
				if n > 0 && i >= n || pause.For(ctx, time.Until(start.Add(time.Duration(float64(i)/rate*float64(time.Second))))) != nil {
					return
				}
				do(ctx, c, i)
			}
		})
	}
}

// posted is what an attack uploads.
type posted struct {
	site    string
	coding  string             // Content-Encoding; empty: none
	content func() io.WriterTo // the body, from its beginning
	wire    int64              // bytes of the body, as sent
	size    int64              // bytes of the body, decoded
	right   func(counts) bool  // which counts are right
}

// plain is a body in memory for a site, which is sent as it is.
func plain(site string, text []byte, right func(counts) bool) *posted {
	n := int64(len(text))
	return &posted{site: site, content: func() io.WriterTo { return bytes.NewReader(text) }, wire: n, size: n, right: right}
}

// post uploads p, and counts the answer.
func (f *front) post(ctx context.Context, c *conn, p *posted) {
	head := "POST " + c.base.Path + "/api/v1/asyncsign/" + p.site + " HTTP/1.1\r\nHost: " + c.base.Host + "\r\n"
	if p.coding != "" {
		head += "Content-Encoding: " + p.coding + "\r\n"
	}
	f.begun.Add(1)
	r, err := c.exchange(ctx, head+"Content-Length: "+strconv.FormatInt(p.wire, 10)+"\r\n\r\n", p.content(), nil)
	if f.count(ctx, r, err, uploadStatuses()...) || r.status != http.StatusOK {
		return
	}
	var receipt struct{ UUID string }
	if json.Unmarshal(r.body, &receipt) != nil || receipt.UUID == "" {
		f.blame("upload for %s: the answer %.200q has no UUID", p.site, r.body)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes += p.size
	f.uploads++
	// The first ones are kept, and later ones in place of some: each of all is kept with the same chance.
	kept := accepted{receipt.UUID, p.right}
	if len(f.accepted) < keptAccepted {
		f.accepted = append(f.accepted, kept)
	} else if i := rand.IntN(f.uploads); i < keptAccepted {
		f.accepted[i] = kept
	}
}

// uploadStatuses are those with which an upload may be answered.
func uploadStatuses() []int {
	return []int{http.StatusOK, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests,
		http.StatusServiceUnavailable}
}

// count notes an answer, and whether it may be given. It reports whether there was none.
func (f *front) count(ctx context.Context, r reply, err error, right ...int) (none bool) {
	if err != nil && ctx.Err() != nil {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		if f.lost++; f.firstLost == nil {
			f.firstLost = err
		}
		return true
	}
	if f.statuses == nil {
		f.statuses = make(map[int]int)
	}
	f.statuses[r.status]++
	if !slices.Contains(right, r.status) && len(f.wrong) < keptWrong {
		f.wrong = append(f.wrong, r.problem("an attacker").Error())
	}
	return false
}

// blame notes an answer that nobody should get.
func (f *front) blame(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.wrong) < keptWrong {
		f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
	}
}

// results asks for those of the uploads that were kept until all are there, and says what is wrong with them. It is
// called when the attack is over; those that it has asked for are not asked for again.
func (f *front) results(ctx context.Context) error {
	c := f.server.dial()
	defer c.close()
	kept := f.accepted
	f.accepted = nil
	for _, a := range kept {
		got, err := c.wait(ctx, a.id, time.Now())
		if err != nil {
			return err
		}
		if !a.right(got) {
			f.blame("upload %s of an attacker was counted as %+v", a.id, got)
		}
	}
	return nil
}

// answers are those that came, by status.
func (f *front) answers() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var texts []string
	for _, status := range slices.Sorted(maps.Keys(f.statuses)) {
		texts = append(texts, fmt.Sprintf("%d: %s", status, number(float64(f.statuses[status]))))
	}
	if len(texts) == 0 {
		return "none"
	}
	return strings.Join(texts, ", ")
}
