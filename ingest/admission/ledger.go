package admission

// What was accepted here and is not decided yet. Accepted uploads can't be taken back, so the shares bind when new ones
// come: from half of Config.MaxBacklog on, those who have more undecided than their share are refused, and the other
// half is for those who have less.
//
// The share is the water level: the number of records at which all accounts fit into half of Config.MaxBacklog, when
// those with more are cut down to it. Dividing by the number of accounts instead would let anybody shrink the shares of
// all by sending one pair for each of a thousand sites.
//
// Uploads for one domain have a share, too, because a site that can't be reached keeps its uploads undecided. It binds
// those clients that have more than their part of it, so a stranger who sends for somebody's site doesn't close it for
// its owner.

import (
	"sync"
	"time"
)

// Ledger counts undecided records. It is safe for concurrent use.
type Ledger struct {
	most   int64 // records: Config.MaxBacklog
	least  int64 // records: Config.MinUndecided
	forget time.Duration
	clock  func() time.Time
	counts gateCounts

	mu          sync.Mutex
	total       int64                 // guarded by mu
	clients     map[Client]int64      // records; guarded by mu
	domains     map[string]*domainDue // guarded by mu
	oldest      *Undecided            // a list from the oldest to the newest; guarded by mu
	newest      *Undecided            // guarded by mu
	clientLevel int64                 // water level; guarded by mu
	domainLevel int64                 // guarded by mu
	levelsAt    time.Time             // when the levels were computed; guarded by mu
}

// domainDue is what is undecided of one domain.
type domainDue struct {
	total   int64
	clients map[Client]int64
}

// Undecided is an upload in the ledger. Its fields are guarded by the ledger's mu.
type Undecided struct {
	ledger     *Ledger
	who        Who
	records    int64
	since      time.Time
	done       bool
	prev, next *Undecided
}

// levelsFor is how long computed levels are used: going through thousands of accounts takes some 0.1 ms.
const levelsFor = 100 * time.Millisecond

func newLedger(cfg *Config, m *metrics) *Ledger {
	return &Ledger{
		most: cfg.MaxBacklog, least: cfg.MinUndecided, forget: cfg.UndecidedTime, clock: cfg.Clock, counts: m.gate(nameUndecided),
		clients: make(map[Client]int64), domains: make(map[string]*domainDue),
	}
}

// Admit decides whether an upload may come while backlog records wait in the log, whoever sent them. The error is a
// *Refusal.
//
//   - Up to half of Config.MaxBacklog everybody may send.
//   - From there on, a client above its share may not (429), if others have undecided uploads.
//   - Above Config.MaxBacklog nobody may (503), except a client below its share while others have undecided uploads. It
//     may up to 1.25 times Config.MaxBacklog.
func (l *Ledger) Admit(who Who, backlog int64) error {
	refusal := l.judge(who, backlog)
	if refusal != nil {
		l.counts.refused(refusal)
		return refusal
	}
	l.counts.granted.Inc()
	return nil
}

func (l *Ledger) judge(who Who, backlog int64) *Refusal {
	if backlog <= l.most/2 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	l.expire(now)
	alone := l.total == l.clients[who.Client]
	over, share := false, int64(0)
	if !alone {
		over, share = l.overShare(who, now)
	}
	switch {
	case backlog <= l.most && over:
		return &Refusal{Of: nameUndecided, Reason: OverShare, Limit: share, RetryAfter: retryUndecided}
	case backlog <= l.most, !alone && !over && backlog <= l.most+l.most/4:
		return nil
	}
	return &Refusal{Of: nameUndecided, Reason: Backlog, Limit: l.most, RetryAfter: retryBacklog}
}

// overShare reports whether who has more than it may, and what that is.
func (l *Ledger) overShare(who Who, now time.Time) (over bool, share int64) {
	if now.Sub(l.levelsAt) >= levelsFor {
		l.levelsAt = now
		l.clientLevel = level(l.most/2, l.least, len(l.clients), func(yield func(int64) bool) {
			for _, records := range l.clients {
				if !yield(records) {
					return
				}
			}
		})
		l.domainLevel = level(l.most/2, l.least, len(l.domains), func(yield func(int64) bool) {
			for _, d := range l.domains {
				if !yield(d.total) {
					return
				}
			}
		})
	}
	if l.clients[who.Client] > l.clientLevel {
		return true, l.clientLevel
	}
	if d := l.domains[who.Domain]; d != nil && d.total > l.domainLevel {
		share = max(l.domainLevel/int64(len(d.clients)), 1)
		return d.clients[who.Client] > share, share
	}
	return false, l.clientLevel
}

// level returns the water level of n accounts in so many records, at least least: the number L at which the sum of the
// accounts, each counted up to L, is the capacity. Where all fit, that is the capacity itself.
func level(capacity, least int64, n int, accounts func(func(int64) bool)) int64 {
	if n == 0 {
		return capacity
	}
	l := capacity / int64(n)
	for {
		var below, above int64 // records of accounts below, number of accounts above
		accounts(func(records int64) bool {
			if records <= l {
				below += records
			} else {
				above++
			}
			return true
		})
		if above == 0 {
			return max(capacity, least) // all fit
		}
		next := (capacity - below) / above
		if next <= l {
			return max(l, least)
		}
		l = next
	}
}

// Add enters an accepted upload of so many records. Its Done must be called when it is decided.
func (l *Ledger) Add(who Who, records int64) *Undecided {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	l.expire(now)
	u := &Undecided{ledger: l, who: who, records: max(records, 1), since: now, prev: l.newest}
	if l.newest != nil {
		l.newest.next = u
	} else {
		l.oldest = u
	}
	l.newest = u
	l.total += u.records
	l.clients[who.Client] += u.records
	d := l.domains[who.Domain]
	if d == nil {
		d = &domainDue{clients: make(map[Client]int64, 1)}
		l.domains[who.Domain] = d
	}
	d.total += u.records
	d.clients[who.Client] += u.records
	return u
}

// expire forgets uploads that are too old to be undecided.
func (l *Ledger) expire(now time.Time) {
	for l.oldest != nil && now.Sub(l.oldest.since) > l.forget {
		l.remove(l.oldest)
	}
}

func (l *Ledger) remove(u *Undecided) {
	if u.done {
		return
	}
	u.done = true
	if u.prev != nil {
		u.prev.next = u.next
	} else {
		l.oldest = u.next
	}
	if u.next != nil {
		u.next.prev = u.prev
	} else {
		l.newest = u.prev
	}
	u.prev, u.next = nil, nil
	l.total -= u.records
	if l.clients[u.who.Client] -= u.records; l.clients[u.who.Client] == 0 {
		delete(l.clients, u.who.Client)
	}
	d := l.domains[u.who.Domain]
	d.total -= u.records
	if d.clients[u.who.Client] -= u.records; d.clients[u.who.Client] == 0 {
		delete(d.clients, u.who.Client)
	}
	if d.total == 0 {
		delete(l.domains, u.who.Domain)
	}
}

// Done says that the upload is decided. It may be called more than once, and on nil.
func (u *Undecided) Done() {
	if u == nil {
		return
	}
	u.ledger.mu.Lock()
	defer u.ledger.mu.Unlock()
	u.ledger.remove(u)
}

// count returns the undecided records, and how many of them one client has at most.
func (l *Ledger) count() (total, largest int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(l.clock())
	for _, n := range l.clients {
		largest = max(largest, n)
	}
	return l.total, largest
}
