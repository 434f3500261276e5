package admission

// Who else is there. Shares bind only while somebody else asks, and this is how a Pace knows.

import (
	"sync"
	"time"
)

// others remembers the two clients that asked last. It is safe for concurrent use.
type others struct {
	recent time.Duration

	mu     sync.Mutex
	latest asker // who asked last; guarded by mu
	before asker // who asked last among all but latest.client; guarded by mu
}

type asker struct {
	client Client
	at     time.Time // zero: nobody
}

// asked notes that client asks, and reports whether another one asked within the time that counts as recent.
func (o *others) asked(client Client, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.latest.client != client && !o.latest.at.IsZero() {
		o.before = o.latest
	}
	o.latest = asker{client, now}
	return o.someElse(now)
}

// several reports whether more than one client asked recently.
func (o *others) several(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.someElse(now)
}

func (o *others) someElse(now time.Time) bool {
	return !o.before.at.IsZero() && now.Sub(o.before.at) < o.recent
}
