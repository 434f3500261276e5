package admission

// Places that are taken back. A slow place goes to a waiter whose client keeps fewer. A place of a client above its
// share goes to one below it that has waited Config.RecallAfter, slow or not: otherwise sixty-four bodies from one
// address at just the minimum rate would close the API. And when more than half of the places are taken by several
// clients, a body that stays slow is ended though nobody waits.
//
// A holder learns by the end of its Context; the place counts as taken until it is released. So there are never more
// holders than places.

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// mostTried is for how many waiters a review looks for a place: that bounds its work to some 0.5 ms (go test -bench
// Review).
const mostTried = 64

// arm has the places reviewed soon, if there is something to find.
func (g *Gate) arm() {
	if g.armed || len(g.waiting) == 0 && !g.crowded() {
		return
	}
	g.armed = true
	if g.review == nil {
		g.review = time.AfterFunc(g.cfg.ReviewInterval, g.reviewPlaces)
		return
	}
	g.review.Reset(g.cfg.ReviewInterval)
}

// crowded reports whether bodies must keep their rate though nobody waits. One client alone may be as slow as it likes.
func (g *Gate) crowded() bool {
	return g.perByte > 0 && len(g.held)-g.leaving > g.places/2 && len(g.clients) > 1
}

func (g *Gate) reviewPlaces() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = false
	now := g.elapsed()
	g.takeBack(now)
	g.endSlow(now)
	g.arm()
}

// endSlow ends the slowest bodies, until no more than half of the places are taken.
func (g *Gate) endSlow(now time.Duration) {
	if !g.crowded() {
		return
	}
	slow := g.slow(now - g.cfg.BodyPatience)
	slices.SortFunc(slow, func(a, b slowPlace) int { return cmp.Compare(a.since, b.since) })
	for _, s := range slow {
		if !g.crowded() {
			return
		}
		g.evict(s.Place, ErrSlow)
	}
}

type slowPlace struct {
	*Place
	since time.Duration
}

// slow lists the places that were slow at a time, and not taken back.
func (g *Gate) slow(at time.Duration) []slowPlace {
	var list []slowPlace
	for _, p := range g.held {
		if since, is := p.slowSince(at); is && p.cause == nil {
			list = append(list, slowPlace{p, since})
		}
	}
	return list
}

// takeBack takes places back for those who wait, in the order in which they will get them.
func (g *Gate) takeBack(now time.Duration) {
	if len(g.waiting) == 0 {
		return
	}
	slow := g.slow(now)
	if len(slow) == 0 && now-g.waiting[0].since < g.cfg.RecallAfter { // the first has waited longest
		return
	}
	line := slices.Clone(g.waiting)
	slices.SortStableFunc(line, g.order)
	onTheWay := g.leaving
	line = line[:min(len(line), onTheWay+mostTried)]
	for i, w := range line {
		if i >= onTheWay && !g.takeBackFor(w, slow, now) {
			continue
		}
		w.client.planned++
		w.domain.planned++
	}
	for _, w := range line {
		w.client.planned, w.domain.planned = 0, 0
	}
}

func (g *Gate) takeBackFor(w *waiter, slow []slowPlace, now time.Duration) bool {
	if p := g.slowFor(w, slow); p != nil {
		g.evict(p, ErrSlow)
		return true
	}
	if p := g.recallFor(w, now); p != nil {
		g.evict(p, ErrRecalled)
		return true
	}
	return false
}

// slowFor returns the slow place that w's client may have: one of the client that keeps most, if that is more than w's
// own keeps. Between two domains of one client their places decide likewise.
func (g *Gate) slowFor(w *waiter, slow []slowPlace) *Place {
	var best slowPlace
	for _, s := range slow {
		may := s.client != w.client && s.client.keeps() > w.client.keeps()+w.client.planned ||
			s.client == w.client && s.domain != w.domain && s.domain.keeps() > w.domain.keeps()+w.domain.planned
		if s.cause == nil && may && (best.Place == nil || s.before(best)) {
			best = s
		}
	}
	return best.Place
}

// before reports whether s is taken back rather than o.
func (s slowPlace) before(o slowPlace) bool {
	return cmp.Or(
		cmp.Compare(o.client.keeps(), s.client.keeps()),
		cmp.Compare(o.domain.keeps(), s.domain.keeps()),
		cmp.Compare(s.since, o.since),
	) < 0
}

// recallFor returns the youngest place of the client that keeps most, if that is above its share and w's client, which
// has waited long enough, is below and stays at fewer places.
func (g *Gate) recallFor(w *waiter, now time.Duration) *Place {
	share, has := g.share(), w.client.keeps()+w.client.planned
	if now-w.since < g.cfg.RecallAfter || has >= share {
		return nil
	}
	var best *Place
	for _, p := range g.held {
		keeps := p.client.keeps()
		if p.cause != nil || p.client == w.client || keeps <= share || keeps <= has+1 {
			continue
		}
		if best == nil || keeps > best.client.keeps() || p.client == best.client && p.number > best.number {
			best = p
		}
	}
	return best
}

// evict takes a place back.
func (g *Gate) evict(p *Place, cause error) {
	p.cause = cause
	g.leaving++
	p.client.leaving++
	p.domain.leaving++
	if errors.Is(cause, ErrSlow) {
		g.strike(p.who.Client, p.client)
		p.client.slowUntil = p.client.struckUntil
		g.counts.slow.Inc()
	} else {
		g.counts.recalled.Inc()
	}
	if p.cancel != nil {
		p.cancel(cause)
	}
}
