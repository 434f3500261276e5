package admission

// The allowance of a holder: how much longer it may keep the service waiting. It starts with the grace of its gate (a
// quarter, for clients that were slow lately). Time in which the service waits for the holder is taken from it, and
// bytes that come are added, as much as they would take at the minimum rate. So it is an average over the last seconds
// in two numbers. Time in which the service is busy itself costs the holder nothing: a service that is slow must not
// call its clients so.

import (
	"math"
	"sync/atomic"
	"time"
)

// never is a time that doesn't come.
const never = time.Duration(math.MaxInt64)

// mostDebt is how far behind a holder's allowance can fall: afterwards, that many seconds' worth of bytes make up for
// any pause.
const mostDebt = 10 * time.Second

// allowance belongs to the goroutine of the holder, except slowAt.
type allowance struct {
	left  time.Duration
	began time.Duration // of the wait, in time of the gate
	// slowAt is when the allowance ends, in time of the gate; never while the service doesn't wait for the holder.
	slowAt atomic.Int64
}

// Await says that the service waits for the holder from now on: for bytes of its body, or for its result. Said again
// before Received, it changes nothing.
func (p *Place) Await() {
	if p.slowAt.Load() != int64(never) {
		return
	}
	p.began = p.gate.elapsed()
	end := never
	if p.left < never-p.began {
		end = p.began + p.left
	}
	p.slowAt.Store(int64(end))
}

// Received says that the wait is over, and how many bytes it brought.
func (p *Place) Received(bytes int) {
	p.slowAt.Store(int64(never))
	if p.left == never {
		return
	}
	earned := min(time.Duration(bytes)*p.gate.perByte, p.gate.cfg.BodyCredit+mostDebt)
	p.left += earned - (p.gate.elapsed() - p.began)
	p.left = min(max(p.left, -mostDebt), max(p.gate.cfg.BodyCredit, p.gate.grace))
}

// slowSince returns since when the holder is slow, and whether it is.
func (p *Place) slowSince(now time.Duration) (since time.Duration, slow bool) {
	since = time.Duration(p.slowAt.Load())
	return since, since < now
}
