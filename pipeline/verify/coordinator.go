package verify

// Which certificates decide an upload. For each sealed upload the coordinator finds the certificates by which its
// signatures are good, and proposes them to the announcer. The proposal counts when it is read back from the log as a
// decision, and only if it is the first one for its upload. So a replay finds the same decision after the site has
// changed its certificate, or gone (I5).
//
// A signature is called bad only by a fresh look: one at the site that began after the upload's seal was seen here.
// Until then the upload is parked. A parked upload is a value in this goroutine's hands, and the goroutine itself never
// waits for a site, for a worker, or for the log. So no upload waits for another one's site.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"countersign/internal/queue"
	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

const (
	// decideWithin is how long an upload waits for its site, from when its seal was seen here. The time that its own
	// signatures take doesn't count, nor does time in which the process stood still.
	decideWithin = 30 * time.Second
	// maxLooks is how many looks at a site an upload waits for, as long as each brings leaves that were not known. A
	// site with several nodes behind one address shows one of them at a look.
	maxLooks = 3
)

// Reasons of pairs that have no verdict.
const (
	reasonBudget = "the signatures of this upload take more processor time to check than one upload may use; send what is left in smaller " +
		"uploads, or sign with RSA (exponent 65537), P-256 or P-384, which are checked faster"
	reasonManyLeaves = "the signatures of this upload are by more certificates than one upload may be decided by; send those of each " +
		"certificate by themselves"
)

// coordinator is the goroutine that brings sealed uploads to their decisions. Others put into its inbox what it is to
// do.
type coordinator struct {
	*partition
	ctx   context.Context // of the partition
	sites map[waiter]*siteWait
}

// inbox is what other goroutines ask of the coordinator. It has at most a few entries for each open seal.
type inbox = queue.Queue[func(*coordinator)]

func newCoordinator(p *partition) *coordinator {
	return &coordinator{partition: p, sites: make(map[waiter]*siteWait)}
}

// run works until ctx ends, which is its only error.
func (c *coordinator) run(ctx context.Context) error {
	c.ctx = ctx
	for {
		select {
		case <-c.inbox.Ready():
			for _, do := range c.inbox.Take() {
				do(c)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sealed takes in an upload that has no decision yet.
func (c *coordinator) sealed(u *upload) {
	u.undecided = true
	c.stage.metrics.undecided.Inc()
	u.stood = c.stage.still.total()
	u.deadline = c.stage.cfg.Clock().Add(decideWithin)
	if u.attempt != nil && u.attempt.verification != nil {
		u.verification = u.attempt.verification
		c.verify(u)
		return
	}
	known := c.stage.cfg.Certs.Known(u.seal.Site)
	if len(known.Leaves) == 0 {
		c.await(u, time.Time{})
		return
	}
	c.verifyUnder(u, known)
}

func (c *coordinator) verifyUnder(u *upload, known certs.Known) {
	c.replace(u, c.stage.newVerification(u.seal.Site, u.seal.Client, known.Chains(), known.Keys()))
	c.verify(u)
}

// replace puts another verification in place of the one that an upload has.
func (c *coordinator) replace(u *upload, v *verification) {
	if u.cancel != nil {
		u.cancel()
		u.cancel = nil
	}
	if u.verification != nil {
		u.verification.cancelled.Store(true)
	}
	u.verification = v
	if u.attempt != nil && v != nil {
		u.attempt.replace(v)
	}
}

// verify has the pairs checked that were not, and calls verified then.
func (c *coordinator) verify(u *upload) {
	u.started = c.stage.cfg.Clock()
	if u.attempt != nil {
		u.attempt.verifyRest()
		c.whenIdle(u)
		return
	}
	v := u.verification
	c.read(u, v, func(chunk *recordpb.Chunk, done func()) error {
		v.add(chunk, done)
		return nil
	})
}

// verifyAgain has the pairs checked that failed, under the keys from a number on.
func (c *coordinator) verifyAgain(u *upload, from int) {
	u.started = c.stage.cfg.Clock()
	v := u.verification
	if u.attempt != nil {
		for i, chunk := range u.attempt.chunks {
			v.again(chunk, i, from, nil)
		}
		c.whenIdle(u)
		return
	}
	next := 0
	c.read(u, v, func(chunk *recordpb.Chunk, done func()) error {
		if next >= len(v.verdicts) || len(v.verdicts[next]) != len(chunk.Hashes)/record.HashSize {
			done()
			return unrecoverable("at position %d the log no longer holds what was verified", chunk.First)
		}
		v.again(chunk, next, from, done)
		next++
		return nil
	})
}

// read reads an upload's chunks from the log, when its turn comes, and calls verified when all were checked.
func (c *coordinator) read(u *upload, v *verification, check func(chunk *recordpb.Chunk, done func()) error) {
	ctx, cancel := context.WithCancel(c.ctx)
	u.cancel = cancel
	p := c.partition
	c.stage.readBacks.put(&readBack{partition: p, ctx: ctx, upload: u, verification: v, check: check, done: func(err error) {
		cancel()
		p.inbox.Put(func(c *coordinator) { c.verified(u, v, err) })
	}})
}

func (c *coordinator) whenIdle(u *upload) {
	p, v := c.partition, u.verification
	v.whenIdle(func() { p.inbox.Put(func(c *coordinator) { c.verified(u, v, nil) }) })
}

// verified goes on with an upload whose pairs were checked, as far as the budget reached.
func (c *coordinator) verified(u *upload, v *verification, err error) {
	if u.verification != v || v.cancelled.Load() {
		return // a decision was read that needs another one
	}
	u.deadline = u.deadline.Add(c.stage.cfg.Clock().Sub(u.started))
	switch {
	case errors.Is(err, errUnrecoverable):
		u.failed = err
		c.replace(u, nil)
		c.conclude(u, announcement{upload: u.id, reason: reasonOf(err)})
	case err != nil:
		c.later(err, func(c *coordinator) {
			if u.verification == v {
				c.restart(u, v)
			}
		})
	case u.decision != nil:
		v.resolveRepeats()
		c.decided.Put(u)
	case !v.anyBad():
		c.announce(u, "")
	case u.unavailable != "":
		c.announce(u, u.unavailable)
	case v.rest:
		c.announce(u, reasonBudget)
	case u.looks >= maxLooks:
		c.announce(u, "")
	case u.looks == 0:
		c.await(u, u.seen)
	default:
		c.await(u, c.stage.cfg.Clock())
	}
}

// restart verifies from the beginning, under the same keys.
func (c *coordinator) restart(u *upload, v *verification) {
	again := c.stage.newVerification(u.seal.Site, u.seal.Client, v.chains, v.keys)
	if u.decision != nil {
		again = c.stage.newReplay(u.seal.Site, u.seal.Client, u.decision, v.keys)
	}
	c.replace(u, again)
	c.verify(u)
}

// later logs why something has to be done again, and does it after a while.
func (c *coordinator) later(why error, do func(*coordinator)) {
	if c.ctx.Err() != nil {
		return
	}
	c.logger.Warn("something that an upload waits for failed; trying again", "error", why)
	p := c.partition
	time.AfterFunc(c.stage.cfg.Backoff, func() { p.inbox.Put(do) })
}

// found goes on with an upload that waited for its site, with what is known of the site now. The error is one of
// package certs.
func (c *coordinator) found(u *upload, known certs.Known, err error) {
	if _, unavailable := errors.AsType[*certs.Unavailable](err); err != nil && !unavailable {
		c.later(err, func(c *coordinator) {
			if u.decision == nil {
				c.await(u, u.seen)
			}
		})
		return
	}
	if err != nil {
		u.unavailable = reasonOf(err)
	}
	fresh := err == nil && known.Looked.After(u.seen)
	v := u.verification
	if v == nil {
		if len(known.Leaves) == 0 {
			c.conclude(u, announcement{upload: u.id, reason: u.unavailable})
			return
		}
		if fresh {
			u.looks++
		}
		c.verifyUnder(u, known)
		return
	}
	from := len(v.keys)
	v.extend(v.missing(known))
	switch {
	case len(v.keys) > from:
		if fresh {
			u.looks++
		}
		c.verifyAgain(u, from)
	case err == nil && !fresh:
		c.await(u, u.seen)
	default:
		c.announce(u, u.unavailable)
	}
}

// missing returns the leaves of known that v doesn't have.
func (v *verification) missing(known certs.Known) (chains []certs.Chain, keys []certs.Key) {
	has := make(map[[32]byte]bool, len(v.keys))
	for _, key := range v.keys {
		has[key.Fingerprint] = true
	}
	for _, leaf := range known.Leaves {
		if !has[leaf.Key.Fingerprint] {
			chains, keys = append(chains, leaf.Chain), append(keys, leaf.Key)
		}
	}
	return chains, keys
}

// announce proposes the decision by what an upload was verified under. failing says why pairs that failed are errors,
// and is empty where they are bad.
func (c *coordinator) announce(u *upload, failing string) {
	v := u.verification
	if !v.settle() && failing == "" {
		failing = reasonManyLeaves
	}
	if v.limit > 0 {
		v.limit = min(v.limit, u.seal.Count)
	}
	c.conclude(u, announcement{upload: u.id, chains: v.chains, reached: v.limit, failing: failing})
}

// conclude hands a decision to the announcer, or the upload to the forwarder where the decision was read.
func (c *coordinator) conclude(u *upload, a announcement) {
	if u.decision != nil {
		c.decided.Put(u)
		return
	}
	u.announced = true
	c.announcements.Put(a)
}

// decidedBy goes on with an upload whose decision was read.
func (c *coordinator) decidedBy(u *upload, d *decision) {
	if u.undecided {
		u.undecided = false
		c.stage.metrics.undecided.Dec()
		c.leave(u)
	}
	u.decision = d
	if v := u.verification; v != nil && u.announced && v.limit == d.reached && sameChains(v.chains, d.chains) {
		c.decided.Put(u)
		return
	}
	keys, err := c.stage.cfg.Certs.KeysOf(d.chains)
	if d.failed != nil || err != nil || len(keys) == 0 || u.failed != nil {
		c.replace(u, nil)
		c.decided.Put(u)
		return
	}
	c.replace(u, c.stage.newReplay(u.seal.Site, u.seal.Client, d, keys))
	c.verify(u)
}

// reasonOf is what the uploader reads beside every hash of an upload without a certificate.
func reasonOf(err error) string {
	reason := err.Error()
	if u, ok := errors.AsType[*certs.Unavailable](err); ok {
		reason = u.Reason
	}
	reason = record.ValidText(reason)
	if len(reason) > record.MaxText {
		reason = strings.ToValidUTF8(reason[:record.MaxText], "")
	}
	return reason
}

// errUnrecoverable is wrapped by errors about an upload that stay the same however often it is read.
var errUnrecoverable = errors.New("the upload's chunks are not in the log")

func unrecoverable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUnrecoverable, fmt.Sprintf(format, args...))
}
