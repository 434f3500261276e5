package store

// A server that accepts connections and says nothing is found out, and calls go to another connection. A stopped
// process is one, a full machine, or a network that loses packets on their way.
//
//   - Whoever waits for an answer waits at most readSilence for the next packet. ClickHouse sends its progress ten times
//     a second while a query runs, so a long query is no silence.
//   - An insert and a migration run without such packets while ClickHouse writes, syncs, and waits for replicas. So they
//     may be silent for insertSilence, but for an insert's first exchange, in which ClickHouse says what columns there
//     are. But when one has waited for askAfter, the server is asked on another connection
//     whether it is there, and from then on again and again. When that question isn't answered within probeSilence, the
//     insert is given up, too.
//   - A connection that was idle may have died unnoticed. So a query that is the first thing on it after idleFor waits for
//     idleSilence only, and is then asked once more on another connection.
//   - An address that was silent is tried after the others for a while, and connections that were idle then are
//     closed: they may have died in the same way.
//
// Those who find silence get ErrUnavailable.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"countersign/internal/pause"
)

const (
	readSilence   = 8 * time.Second
	idleSilence   = 2 * time.Second
	insertSilence = time.Minute
	askAfter      = 4 * time.Second
	probeSilence  = 4 * time.Second
	suspectFor    = 30 * time.Second // how long an address that was silent comes last
)

// silentError says that a server accepted a connection and then said nothing. It is a net.Error.
type silentError struct {
	address string
	silence time.Duration
	idle    bool // the connection had been idle: another one may be well
}

func (e *silentError) Error() string {
	return fmt.Sprintf("%s accepted the connection and has said nothing for %v: is it stopped, or overloaded?", e.address, e.silence)
}

// Timeout is true: silence is one.
func (e *silentError) Timeout() bool { return true }

// Temporary belongs to net.Error.
func (e *silentError) Temporary() bool { return true }

var _ net.Error = (*silentError)(nil)

// watched calls a function that may wait for ClickHouse without a sign of life, and ends it when ClickHouse doesn't
// answer elsewhere, either.
func (db *DB) watched(ctx context.Context, call func(context.Context) error) error {
	running, end := context.WithCancelCause(ctx)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		for pause.For(running, askAfter) == nil {
			if err := db.probe.Ping(running); err != nil && running.Err() == nil {
				end(err)
			}
		}
	}()
	err := call(running)
	end(nil)
	<-watching
	if cause := context.Cause(running); err != nil && ctx.Err() == nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// silentAddresses remembers which servers were silent. A DB's connections share it.
type silentAddresses struct {
	mu sync.Mutex
	at map[string]time.Time // when an address was silent last; guarded by mu; no more than the URL has addresses
}

func (s *silentAddresses) note(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = make(map[string]time.Time)
	}
	s.at[address] = time.Now()
}

func (s *silentAddresses) lately(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.at[address]
	return ok && time.Since(at) < suspectFor
}

// last returns the addresses, those that were silent lately at the end.
func (s *silentAddresses) last(addresses []string) []string {
	var sound, silent []string
	for _, a := range addresses {
		if s.lately(a) {
			silent = append(silent, a)
		} else {
			sound = append(sound, a)
		}
	}
	return append(sound, silent...)
}
