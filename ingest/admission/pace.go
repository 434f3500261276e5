package admission

// Turns: who is read next. A place is for what takes long; a turn is for what is short and can be had by the thousand:
// a new connection with its head and, maybe, its refusal, or one more request of a connection that is kept. A flood of
// them fills the processors, and then everybody waits for those.
//
// While several clients ask, there are only so many turns a second as leave the processors free (processors.go), never
// less than a stated rate. A client that finds a turn free has it at once. Otherwise it waits, and the next turn goes
// to the client that waits for fewest; one turn in four goes to whoever has waited longest, unless that one was struck,
// so that a crowd of small clients doesn't keep a large one waiting for ever. Clients that were struck lately (gate.go)
// come after all others, at the stated rate at most. One client alone has every turn it asks for.
//
// Whoever waits costs what its caller keeps for it: a connection that isn't read yet is a socket and no goroutine.
//
// Rejected: a fixed number of turns a second for each client (two hundred clients have two hundred times as many); a
// fixed number for all (a crowd of honest clients would be slower than the machine); as many at once instead of as many
// a second (the processors are full whenever a flood has something to ask).

import (
	"container/heap"
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"countersign/internal/fifo"
)

// ErrGone is the error of a wait whose client has gone.
var ErrGone = errors.New("the client has gone")

// paceTick is how often turns are given to those who wait.
const paceTick = 5 * time.Millisecond

// mostInAdvance is how many turns, if those of a tick aren't more, clients of which nobody waits may have at once.
const mostInAdvance = 16

// oldestFirst says that each so many turns one goes to who has waited longest.
const oldestFirst = 4

// Pace gives turns. It is safe for concurrent use.
type Pace struct {
	name        string
	clock       func() time.Time
	others      *others
	mostWait    time.Duration
	struckTime  time.Duration
	newestFirst bool // of one client's
	counts      gateCounts
	struckUntil *fifo.Map[Client, time.Time]

	mu      sync.Mutex
	rate    adaptiveRate     // guarded by mu
	tokens  float64          // turns that may be given now; less than 0 after turns in advance; guarded by mu
	struck  float64          // of tokens, those that struck clients may have; guarded by mu
	advance float64          // turns that may be had before those who wait; guarded by mu
	filled  time.Time        // when these were counted; guarded by mu
	lines   map[Client]*line // of those who wait; guarded by mu
	order   lineHeap         // the same; guarded by mu
	oldest  list.List        // of *Turn, all that wait, in the order in which they came; guarded by mu
	given   uint64           // turns given to those who waited; guarded by mu
	number  uint64           // turns asked for; guarded by mu
	timer   *time.Timer      // calls tick; nil before it was first needed; guarded by mu
	armed   bool             // timer will fire; guarded by mu
}

// line is those of one client that wait. It is guarded by the pace's mu.
type line struct {
	client Client
	turns  list.List // of *Turn, in the order in which they came
	struck bool
	index  int // in the heap
}

// Turn is one that is waited for.
type Turn struct {
	pace   *Pace
	line   *line
	number uint64
	since  time.Time
	then   func(granted bool) // nil: decided is read instead

	decided chan bool // gets whether the turn was granted

	inLine, inAll *list.Element // nil: it waits no longer; guarded by the pace's mu
}

func newPace(name string, floor int, cfg *Config, o *others, m *metrics) *Pace {
	now := cfg.Clock()
	return &Pace{
		name: name, clock: cfg.Clock, others: o, mostWait: cfg.MaxTurnWait, struckTime: cfg.StruckTime, counts: m.gate(name),
		struckUntil: fifo.New[Client, time.Time](mostStruck), lines: make(map[Client]*line), filled: now,
		rate: adaptiveRate{floor: float64(floor), mostWait: cfg.MaxDelay, delay: cfg.Delay(), now: highest * float64(floor), adapted: now},
	}
}

// Ask asks for a turn of a client. It returns nil where the client has it at once. Otherwise then is called once, by
// another goroutine, when the turn has come (granted) or hasn't in Config.MaxTurnWait; it must not wait for anything.
func (p *Pace) Ask(client Client, then func(granted bool)) *Turn {
	now := p.clock()
	alone := !p.others.asked(client, now)
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.queue(client, alone, now)
	if t != nil {
		t.then = then
	}
	return t
}

// Wait waits for a turn of a client. The error is a *Refusal, ErrGone when gone is closed first, or the cause of ctx's
// end.
func (p *Pace) Wait(ctx context.Context, client Client, gone <-chan struct{}) error {
	t := p.Ask(client, nil)
	if t == nil {
		return nil
	}
	select {
	case granted := <-t.decided:
		if granted {
			return nil
		}
		return &Refusal{Of: p.name, Reason: Full, Limit: int64(p.perSecond()), RetryAfter: retryPlace}
	case <-ctx.Done():
		t.Cancel()
		return context.Cause(ctx)
	case <-gone:
		t.Cancel()
		return ErrGone
	}
}

// queue has a client wait, unless there is a turn for it now.
func (p *Pace) queue(client Client, alone bool, now time.Time) *Turn {
	if alone && p.oldest.Len() == 0 {
		p.counts.granted.Inc()
		return nil
	}
	p.fill(now)
	l := p.lines[client]
	if l == nil {
		l = &line{client: client, index: -1, struck: p.isStruck(client, now)}
		if p.atOnce(l.struck) {
			p.counts.granted.Inc()
			return nil
		}
		p.lines[client] = l
	}
	p.number++
	t := &Turn{pace: p, line: l, number: p.number, since: now, decided: make(chan bool, 1)}
	t.inLine, t.inAll = l.turns.PushBack(t), p.oldest.PushBack(t)
	if l.index < 0 {
		heap.Push(&p.order, l)
	} else {
		heap.Fix(&p.order, l.index)
	}
	p.arm()
	return t
}

func (p *Pace) isStruck(client Client, now time.Time) bool {
	until, ok := p.struckUntil.Get(client)
	return ok && now.Before(until)
}

// atOnce gives a turn to a client of which nobody waits, if there is one. Where others wait, up to half of the turns are
// for such clients: they would come first anyway.
func (p *Pace) atOnce(struck bool) bool {
	nobody := len(p.order) == 0 || !struck && p.order[0].struck
	switch {
	case nobody && p.tokens >= 1 && (!struck || p.struck >= 1):
	case !struck && p.advance >= 1:
		p.advance--
	default:
		return false
	}
	p.spend(struck)
	return true
}

// perTick is how many turns of a rate there are in a tick.
func (p *Pace) perTick(rate float64) float64 { return rate * paceTick.Seconds() }

// fill counts the turns that may be given since the last time. No more than those of two ticks are kept.
func (p *Pace) fill(now time.Time) {
	p.rate.adapt(now)
	passed := max(now.Sub(p.filled), 0).Seconds()
	p.filled = now
	p.tokens = min(p.tokens+passed*p.rate.now, max(2*p.perTick(p.rate.now), 1))
	p.struck = min(p.struck+passed*p.rate.floor, max(2*p.perTick(p.rate.floor), 1))
	p.advance = min(p.advance+passed*p.rate.now/2, max(p.perTick(p.rate.now), mostInAdvance))
}

func (p *Pace) spend(struck bool) {
	p.tokens--
	if struck {
		p.struck--
	}
}

func (p *Pace) arm() {
	if p.armed || p.oldest.Len() == 0 {
		return
	}
	p.armed = true
	if p.timer == nil {
		p.timer = time.AfterFunc(paceTick, p.tick)
		return
	}
	p.timer.Reset(paceTick)
}

// tick is what the timer calls.
func (p *Pace) tick() {
	p.giveTurns()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	p.arm()
}

// giveTurns gives the turns that there are, and ends the waiting of those who have waited too long.
func (p *Pace) giveTurns() {
	p.mu.Lock()
	now := p.clock()
	p.fill(now)
	granted := p.grant(now)
	expired := p.expire(now)
	p.mu.Unlock()
	p.counts.waited.Add(float64(len(granted)))
	p.counts.full.Add(float64(len(expired)))
	p.tell(granted, true, now)
	p.tell(expired, false, now)
}

func (p *Pace) tell(turns []*Turn, granted bool, now time.Time) {
	for _, t := range turns {
		p.counts.wait.Observe(now.Sub(t.since).Seconds())
		if t.then != nil {
			t.then(granted)
		} else {
			t.decided <- granted
		}
	}
}

// grant takes those out of their lines who have their turn now.
func (p *Pace) grant(now time.Time) (turns []*Turn) {
	alone := !p.others.several(now)
	for len(p.order) > 0 {
		l := p.order[0]
		if l.struck && p.forgive(l, now) {
			continue
		}
		if !alone {
			if p.tokens < 1 || l.struck && p.struck < 1 {
				break
			}
			p.spend(l.struck)
		}
		t := p.nextOf(l)
		if p.given++; p.given%oldestFirst == 0 && !l.struck {
			if first := p.oldest.Front().Value.(*Turn); !first.line.struck {
				t = first
			}
		}
		p.remove(t)
		turns = append(turns, t)
	}
	return turns
}

// forgive reports whether the time is over in which a line comes after others.
func (p *Pace) forgive(l *line, now time.Time) bool {
	if p.isStruck(l.client, now) {
		return false
	}
	l.struck = false
	heap.Fix(&p.order, l.index)
	return true
}

// nextOf is the turn of a line that comes first.
func (p *Pace) nextOf(l *line) *Turn {
	if p.newestFirst {
		return l.turns.Back().Value.(*Turn)
	}
	return l.turns.Front().Value.(*Turn)
}

func (p *Pace) expire(now time.Time) (turns []*Turn) {
	for e := p.oldest.Front(); e != nil; e = p.oldest.Front() {
		t := e.Value.(*Turn)
		if now.Sub(t.since) < p.mostWait {
			break
		}
		p.remove(t)
		turns = append(turns, t)
	}
	return turns
}

// remove takes a turn out of its line.
func (p *Pace) remove(t *Turn) {
	l := t.line
	l.turns.Remove(t.inLine)
	p.oldest.Remove(t.inAll)
	t.inLine, t.inAll = nil, nil
	if l.turns.Len() > 0 {
		heap.Fix(&p.order, l.index)
		return
	}
	heap.Remove(&p.order, l.index)
	delete(p.lines, l.client)
}

// Cancel gives up waiting. It does nothing where the turn has come or was given up.
func (t *Turn) Cancel() {
	t.pace.mu.Lock()
	defer t.pace.mu.Unlock()
	if t.inLine != nil {
		t.pace.remove(t)
	}
}

// strike has a client come after others for a while.
func (p *Pace) strike(client Client) {
	until := p.clock().Add(p.struckTime)
	p.struckUntil.Put(client, until)
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.lines[client]; l != nil && !l.struck {
		l.struck = true
		heap.Fix(&p.order, l.index)
	}
}

// waiting is how many wait.
func (p *Pace) waiting() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(p.oldest.Len())
}

// largest is how many of one client wait at most.
func (p *Pace) largest() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := 0
	for _, l := range p.order {
		most = max(most, l.turns.Len())
	}
	return int64(most)
}

// perSecond is how many turns a second there are.
func (p *Pace) perSecond() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate.now
}

// lineHeap has the line on top whose turn is next.
type lineHeap []*line

func (h lineHeap) Len() int { return len(h) }

func (h lineHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	switch {
	case a.struck != b.struck:
		return b.struck
	case a.turns.Len() != b.turns.Len():
		return a.turns.Len() < b.turns.Len()
	case a.turns.Len() == 0:
		return false
	}
	return a.turns.Front().Value.(*Turn).number < b.turns.Front().Value.(*Turn).number
}

func (h lineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *lineHeap) Push(x any) {
	l := x.(*line)
	l.index = len(*h)
	*h = append(*h, l)
}

func (h *lineHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
