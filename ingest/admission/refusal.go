package admission

// What is said to those who get no place, and to those who lose theirs.

import (
	"errors"
	"fmt"
	"time"
)

// Reason is why a request was refused.
type Reason int

const (
	// OverShare: the client, or its uploads for one domain, have their share while others want theirs (429).
	OverShare Reason = iota + 1
	// Full: all places are taken and none came free in time (503).
	Full
	// Backlog: too many records wait to be verified and stored (503).
	Backlog
)

func (r Reason) String() string {
	return [...]string{OverShare: "over-share", Full: "full", Backlog: "backlog"}[r]
}

// Refusal is the error of a request that is not served.
type Refusal struct {
	// Of says what there was not enough of: "uploads", "calls", "undecided", "requests", the name of a ReplySize.
	Of     string
	Reason Reason
	// Limit is what the client may have: its share, or for Full and Backlog all that there is.
	Limit int64
	// RetryAfter is when to come again.
	RetryAfter time.Duration
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("no place among %s: %s, the limit is %d", r.Of, r.Reason, r.Limit)
}

// Undecided reports whether the refusal is the Ledger's: Limit counts records.
func (r *Refusal) Undecided() bool { return r.Of == nameUndecided }

// Turns reports whether the refusal is a Pace's: Limit counts turns a second of all clients.
func (r *Refusal) Turns() bool { return r.Of == nameArrivals || r.Of == nameRequests }

// Why the context of a Place ended.
var (
	// ErrSlow: the holder kept the service waiting, and somebody with fewer places waits, or places are short.
	ErrSlow = errors.New("too slow while others wait")
	// ErrRecalled: the holder's client has more than its share, and one below its share has waited long enough.
	ErrRecalled = errors.New("the place went to a client with fewer")
)

const (
	retryPlace     = time.Second      // places come free within a second or so
	retryUndecided = 5 * time.Second  // uploads are decided within 30 s, most at once
	retryBacklog   = 30 * time.Second // stages are behind or away
)
