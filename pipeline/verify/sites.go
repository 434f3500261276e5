package verify

// Uploads that wait for a look at their site. Those of one site and one client wait together: one goroutine asks for
// them, and ends when none waits any more. Each client asks for itself, because looks are charged to clients: an upload
// must not wait for the turn of somebody else.

import (
	"context"
	"errors"
	"time"

	"countersign/pipeline/certs"
)

// waiter is who waits together.
type waiter struct{ site, client string }

// siteWait is what waits for one site. It belongs to the coordinator.
type siteWait struct {
	uploads map[*upload]time.Time // and after when the look must begin that it waits for; zero: any look will do
	asking  bool
}

// await parks an upload until a look at its site that began after since has ended, and calls found then. A zero since
// means any look.
func (c *coordinator) await(u *upload, since time.Time) {
	key := waiterOf(u)
	w := c.sites[key]
	if w == nil {
		w = &siteWait{uploads: make(map[*upload]time.Time)}
		c.sites[key] = w
	}
	w.uploads[u] = since
	if !w.asking {
		c.ask(key, w)
	}
}

func waiterOf(u *upload) waiter { return waiter{u.seal.Site, string(u.seal.Client)} }

// leave forgets that an upload waits. The question that was asked for it goes on.
func (c *coordinator) leave(u *upload) {
	key := waiterOf(u)
	if w := c.sites[key]; w != nil {
		delete(w.uploads, u)
		if len(w.uploads) == 0 && !w.asking {
			delete(c.sites, key)
		}
	}
}

// prefetch has a site looked at of which nothing is known, for an upload that is not sealed yet.
func (c *coordinator) prefetch(key waiter) {
	if c.sites[key] == nil {
		w := &siteWait{uploads: make(map[*upload]time.Time)}
		c.sites[key] = w
		c.ask(key, w)
	}
}

// ask starts the question that serves all who wait now.
func (c *coordinator) ask(key waiter, w *siteWait) {
	w.asking = true
	until := c.stage.cfg.Clock().Add(decideWithin)
	var since time.Time
	asked := make([]*upload, 0, len(w.uploads))
	for u, after := range w.uploads {
		asked = append(asked, u)
		if after.After(since) {
			since = after
		}
		if deadline := c.deadlineOf(u); deadline.Before(until) {
			until = deadline
		}
	}
	p, stood := c.partition, c.stage.still.total()
	p.group.Go(func() error {
		known, late, err := p.lookAt(c.ctx, key, since, until)
		p.inbox.Put(func(c *coordinator) {
			if c.stage.still.total() > stood && err != nil {
				late = true // the site had no chance to answer in time
				c.askAnew(w)
			}
			c.answered(key, w, asked, known, late, err)
		})
		return nil
	})
}

// deadlineOf is when the site of an upload counts as unavailable.
func (c *coordinator) deadlineOf(u *upload) time.Time {
	return u.deadline.Add(c.stage.still.total() - u.stood)
}

// askAnew has all who wait need a look that begins after now: one that ended before may have failed for the same reason
// as theirs, and is remembered for a moment.
func (c *coordinator) askAnew(w *siteWait) {
	for u := range w.uploads {
		w.uploads[u] = c.stage.cfg.Clock()
	}
}

// lookAt asks for a look that began after since; zero: any will do. late says that the time ended before the answer was
// there.
func (p *partition) lookAt(ctx context.Context, key waiter, since, until time.Time) (known certs.Known, late bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, until.Sub(p.stage.cfg.Clock()))
	defer cancel()
	if since.IsZero() {
		known, err = p.stage.cfg.Certs.Await(ctx, key.site, key.client)
	} else {
		known, err = p.stage.cfg.Certs.Look(ctx, key.site, key.client, since)
	}
	return known, err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded), err
}

// answered hands an answer to the uploads that it serves, and asks again for the others.
func (c *coordinator) answered(key waiter, w *siteWait, asked []*upload, known certs.Known, late bool, err error) {
	w.asking = false
	now := c.stage.cfg.Clock()
	var served []*upload
	serve := func(u *upload) {
		served = append(served, u)
		delete(w.uploads, u)
	}
	for _, u := range asked {
		if _, waits := w.uploads[u]; waits && (!late || !c.deadlineOf(u).After(now)) {
			serve(u)
		}
	}
	for u, after := range w.uploads { // those that came meanwhile
		if err == nil && known.Looked.After(after) {
			serve(u)
		}
	}
	for _, u := range served {
		c.found(u, known, err)
	}
	switch {
	case w.asking:
	case len(w.uploads) > 0:
		c.ask(key, w)
	default:
		delete(c.sites, key)
	}
}
