package certs

// Processor time of looks. Between two answers of a site a handshake computes: keys are agreed on, chains are checked.
// Thousands of sites that answer at once would put hundreds of goroutines that compute before everything else that
// this process has to do. So no more of them compute at a time than there are processors, in turns of a step each,
// charged to the accounts of the look. A handshake that waits for its site takes no turn.

import (
	"context"
	"net"
	"sync"

	"countersign/internal/fair"
)

// processors hands out the right to compute. It is safe for concurrent use.
type processors struct {
	turns *fair.Queue[account, chan<- func()] // steps that wait; each gets the function that ends its turn

	mu   sync.Mutex
	free int // guarded by mu
}

func newProcessors(n int) *processors {
	return &processors{turns: fair.New[account, chan<- func()](0, 0), free: n}
}

// enter waits for a turn, charged to accounts, at least one. leave ends it. A turn doesn't wait for any site, so enter
// returns soon.
func (p *processors) enter(accounts []account) (leave func()) {
	turn := make(chan func(), 1)
	p.turns.Put(turn, 1, accounts...)
	p.advance(0)
	return <-turn
}

// advance begins turns while there are processors, of which so many came free.
func (p *processors) advance(freed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free += freed
	for p.free > 0 && p.turns.Len() > 0 {
		turn, done, err := p.turns.Take(context.Background()) // doesn't wait, because there is one
		if err != nil {
			return
		}
		p.free--
		turn <- func() {
			done()
			p.advance(1)
		}
	}
}

// waiting is how many steps wait for their turn.
func (p *processors) waiting() int { return p.turns.Len() }

// computing is a connection whose user has a turn, but for the time in which it waits for the other side. Read and
// Write are for one goroutine at a time.
type computing struct {
	net.Conn
	processors *processors
	accounts   []account
	leave      func() // nil: it has no turn
}

// computingOn returns raw with a turn. end must be called when nothing is computed for it any more.
func (p *processors) computingOn(raw net.Conn, accounts []account) *computing {
	return &computing{Conn: raw, processors: p, accounts: accounts, leave: p.enter(accounts)}
}

func (c *computing) Read(b []byte) (n int, err error) {
	c.waiting(func() { n, err = c.Conn.Read(b) })
	return n, err
}

func (c *computing) Write(b []byte) (n int, err error) {
	c.waiting(func() { n, err = c.Conn.Write(b) })
	return n, err
}

// waiting does what may wait for the other side, without a turn.
func (c *computing) waiting(do func()) {
	c.end()
	do()
	c.leave = c.processors.enter(c.accounts)
}

// end gives the turn back.
func (c *computing) end() {
	if c.leave != nil {
		c.leave()
		c.leave = nil
	}
}
