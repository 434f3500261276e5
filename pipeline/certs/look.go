package certs

// A look asks a site once for all who need its answer. It runs on a goroutine of its own and ends with the source, or
// with Close, never with a caller's context. So a caller that gives up costs the others nothing.
//
// Of one site one look runs at a time, and a second one may wait: for the end of the first, for Interval since its
// beginning, and then for its turn. A caller that needs a look which begins after a moment joins the one that runs, if
// that began after the moment, and else the one that waits. A look that nobody waits for any more doesn't begin.
//
// Turns are those of internal/fair, charged to the registrable domain and to the client. A look waits for a turn of
// each client that needs it, and begins at the first of them: otherwise a flooder that asks for a site first would hold
// up all clients that ask for it later. Names under a domain that have leaves are charged to another account than
// names that have none, so that a flood of names that don't exist holds up no name that does.
//
// golang.org/x/sync/singleflight does not fit: it can't tell when a call began, has no second call that waits, and no
// end to wait for.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"countersign/internal/hostname"
)

// account is what turns are charged to.
type account struct {
	kind accountKind
	name string // a registrable domain, or a client
}

type accountKind byte

const (
	accountClient accountKind = iota
	accountDomain             // of names of which no leaf is known
	accountKnown              // of names of which leaves are known
)

// asked is a site that has a look, or had one a moment ago. Its fields are guarded by Sites.mu.
type asked struct {
	site    string
	began   time.Time // the last look
	running *look     // nil: none
	next    *look     // waits to begin; nil: none
	last    answer    // of the last look that began
}

// look is one look at a site.
type look struct {
	site   string
	done   chan struct{} // closed when answer is there
	answer answer        // written before done is closed, and never again

	// Guarded by Sites.mu.
	began   time.Time // zero: it waits
	ended   bool
	waiters int
	clients []string // whose turns it waits for
	timed   bool     // a timer will schedule it
	queued  bool     // the turns are in the queue
}

// turn is a look's turn on the account of one client.
type turn struct {
	look     *look
	accounts []account
}

// answer is what a look found: sightings, or else an error.
type answer struct {
	sightings    []sighting // all that are known of the site then
	looked       time.Time
	err          error
	began, ended time.Time // zero: the look never began
}

// serves reports whether an answer serves a caller who asks now.
func (a answer) serves(since *time.Time, now time.Time) bool {
	if a.began.IsZero() {
		return false
	}
	if since == nil {
		return a.err != nil && now.Sub(a.ended) < Interval
	}
	return a.began.After(*since)
}

// join returns the look that serves a caller who asks now: one that ended, one that runs, or one that waits. The caller
// must call wait.
func (s *Sites) join(site, client string, since *time.Time) *look {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Clock()
	if s.closed {
		return answered(site, answer{err: closedWhile(site)})
	}
	if sightings, looked := s.memory.get(site, now); since != nil && len(sightings) > 0 && looked.After(*since) {
		return answered(site, answer{sightings: sightings, looked: looked})
	}
	a := s.asked[site]
	switch {
	case a == nil && len(s.asked) >= maxAsked:
		return answered(site, answer{err: noTurn(site, fmt.Errorf("%w: %d already", ErrNoTurn, maxAsked))})
	case a == nil:
		a = &asked{site: site}
		s.asked[site] = a
	case a.last.serves(since, now):
		return answered(site, a.last)
	case a.running != nil && (since == nil || a.running.began.After(*since)):
		a.running.waiters++
		return a.running
	}
	if a.next == nil {
		a.next = &look{site: site, done: make(chan struct{})}
	}
	l := a.next
	l.waiters++
	if !slices.Contains(l.clients, client) && len(l.clients) < maxClientsOfLook {
		l.clients = append(l.clients, client)
		if l.queued {
			s.enqueue(l, client) // where there is no room, the look has its other turns
		}
	}
	s.schedule(a)
	return l
}

// answered is a look that has ended.
func answered(site string, a answer) *look {
	l := &look{site: site, done: make(chan struct{}), answer: a, ended: true}
	close(l.done)
	return l
}

// wait returns the answer of a look that join gave, or why there is none when ctx ends.
func (s *Sites) wait(ctx context.Context, l *look) answer {
	select {
	case <-l.done:
		return l.answer
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.waiters--
	if l.ended {
		return l.answer
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return answer{err: fmt.Errorf("waiting for the certificate of %s: %w", l.site, ctx.Err())}
	}
	// What runs is this look, or the one before it, which the site keeps waiting.
	if a := s.asked[l.site]; a != nil && a.running != nil {
		return answer{err: noAnswer(l.site, fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err()))}
	}
	return answer{err: noTurn(l.site, fmt.Errorf("%w: %w", ErrNoTurn, ctx.Err()))}
}

// schedule sees to it that the look that waits begins, once nothing but its turn is missing. The caller holds mu.
func (s *Sites) schedule(a *asked) {
	l := a.next
	if l == nil || l.queued || l.timed || a.running != nil || s.closed {
		return
	}
	if early := a.began.Add(Interval).Sub(s.config.Clock()); early > 0 {
		l.timed = true
		time.AfterFunc(early, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			l.timed = false
			if a.next == l {
				s.schedule(a)
			}
		})
		return
	}
	l.queued = true
	if l.waiters == 0 {
		s.drop(a, l)
		return
	}
	room := false
	for _, client := range l.clients {
		room = s.enqueue(l, client) || room
	}
	if !room {
		s.metrics.looks.WithLabelValues("network", "refused").Inc()
		s.end(a, l, answer{err: noTurn(l.site, fmt.Errorf("%w: the queue is full", ErrNoTurn))})
	}
}

// enqueue puts a turn of a client into the queue, where there is room. The caller holds mu.
func (s *Sites) enqueue(l *look, client string) bool {
	t := &turn{look: l, accounts: []account{{kind: accountDomain, name: hostname.Domain(l.site)}}}
	if sightings, _ := s.memory.get(l.site, s.config.Clock()); len(sightings) > 0 {
		t.accounts[0].kind = accountKnown
	}
	if client != "" {
		t.accounts = append(t.accounts, account{kind: accountClient, name: client})
	}
	full := func(a account) bool { return s.queued[a] >= maxQueuedOfAccount }
	if s.turns >= maxQueued || slices.ContainsFunc(t.accounts, full) {
		return false
	}
	s.turns++
	for _, a := range t.accounts {
		s.queued[a]++
	}
	s.queue.Put(t, 1, t.accounts...)
	return true
}

// dispatch begins looks, in turn, while there are places.
func (s *Sites) dispatch() {
	for {
		select {
		case s.places <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		t, done, err := s.queue.Take(s.ctx)
		if err != nil {
			return
		}
		leave := func() {
			done()
			<-s.places
		}
		if !s.begin(t) {
			leave()
			continue
		}
		s.working.Go(func() {
			defer leave()
			s.run(t.look, t.accounts)
		})
	}
}

// begin reports whether a turn's look begins. It doesn't where it began with another turn, and where nobody waits for
// it.
func (s *Sites) begin(t *turn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns--
	for _, a := range t.accounts {
		if s.queued[a]--; s.queued[a] == 0 {
			delete(s.queued, a)
		}
	}
	l := t.look
	if l.ended || !l.began.IsZero() {
		return false
	}
	a := s.asked[l.site]
	if l.waiters == 0 {
		s.drop(a, l)
		return false
	}
	l.began = s.config.Clock()
	a.began, a.running, a.next = l.began, l, nil
	s.metrics.running.Inc()
	return true
}

// run looks, and hands out what was found. Of a look that could not ask all of the site the leaves are remembered, and
// its answer is the error: a signature that fails under them is not bad for that.
func (s *Sites) run(l *look, accounts []account) {
	found, partial, err := s.config.source(s.ctx, l.site, accounts)
	if err == nil || len(found) > 0 {
		if failed := s.prepare(l.site, found); failed != nil {
			found, err = nil, failed
		}
	}
	if _, ok := errors.AsType[*Unavailable](err); err != nil && !ok {
		if err = unusable(l.site, err); s.ctx.Err() != nil {
			err = closedWhile(l.site)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Clock()
	result := answer{err: err, began: l.began, ended: now}
	if len(found) > 0 {
		s.memory.see(l.site, found, err == nil, l.began, now)
	}
	if err == nil {
		result.sightings, result.looked = s.memory.get(l.site, now)
	}
	s.metrics.running.Dec()
	s.metrics.seconds.Observe(now.Sub(l.began).Seconds())
	s.metrics.counted("network", partial, err)
	s.end(s.asked[l.site], l, result)
}

// drop ends a look that nobody waits for. The caller holds mu.
func (s *Sites) drop(a *asked, l *look) {
	s.metrics.looks.WithLabelValues("network", "dropped").Inc()
	s.end(a, l, answer{})
}

// end gives a look's answer to all who wait for it, and lets the next look at the site begin. The caller holds mu.
func (s *Sites) end(a *asked, l *look, result answer) {
	l.ended, l.answer = true, result
	close(l.done)
	if a.running == l {
		a.running, a.last = nil, result
	}
	if a.next == l {
		a.next = nil
	}
	s.schedule(a)
	if a.running == nil && a.next == nil {
		s.forgetLater(a)
	}
}

// forgetLater forgets a site that has no look, once its last answer serves nobody and a next look may begin. The caller
// holds mu.
func (s *Sites) forgetLater(a *asked) {
	forget := func() bool {
		now := s.config.Clock()
		idle := a.running == nil && a.next == nil && now.Sub(a.began) >= Interval && now.Sub(a.last.ended) >= Interval
		if idle && s.asked[a.site] == a {
			delete(s.asked, a.site)
		}
		return idle
	}
	if forget() || s.closed {
		return
	}
	time.AfterFunc(Interval, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		forget()
	})
}

// noTurn is what the uploader reads where a look did not begin in time.
func noTurn(site string, cause error) *Unavailable {
	return &Unavailable{
		Site: site,
		Reason: site + ": too many sites are being asked for their certificates at present, " +
			"so that its turn did not come in time; send the signatures again",
		Err: cause,
	}
}

// noAnswer is what the uploader reads where a look did not end in time.
func noAnswer(site string, cause error) *Unavailable {
	return &Unavailable{
		Site: site,
		Reason: site + ": the site was asked for its certificate and has not answered in time; " +
			"check that it serves it over TLS, and send the signatures again",
		Err: cause,
	}
}
