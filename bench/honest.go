package bench

// An honest user: one program uploads lists of pairs and waits for the result of each, another one signs singly. Both
// begin at fixed times, whatever became of what they sent before, and latencies count from those times. Each request
// goes over a connection of its own, so that a user who comes anew is measured, and not one who has a place already.
//
// What they send is signed correctly and new, so there is exactly one right answer. Refusals that ask to come again are
// noted and followed. Uploads carry an Idempotency-Key, so a lost connection doesn't make a second upload.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"countersign/internal/pause"
)

// honestUser is both programs, from one address.
type honestUser struct {
	server *server
	pool   *pool
	from   netip.Addr

	pairs       int           // of an upload
	uploadEvery time.Duration // between the beginnings of two uploads
	signEvery   time.Duration // between those of two signings
}

// sample is what became of one upload or signing.
type sample struct {
	took     time.Duration // from the intended start to the result
	connect  time.Duration // the longest time that one of its connections took to be made
	bytes    int64         // of the upload's body
	shared   int           // answers with 429
	refusals []error       // answers with 408 or 503 that say when to come again
	failures []error       // lost connections, and answers that nobody should get
	wrong    error         // a result that is not the one that there must be
}

// usage is what an honest user saw for a while.
type usage struct {
	uploads, signings []sample
}

// all returns every sample.
func (u usage) all() []sample { return append(append([]sample(nil), u.uploads...), u.signings...) }

const (
	honestPatience = 3 * time.Minute        // for one result; without it after that, the user has got an error
	honestAgain    = 100 * time.Millisecond // before a request whose connection was lost is sent again
	mostSignings   = 256                    // at a time
)

// during sends for a while, and returns when everything that was sent has its result.
func (h *honestUser) during(ctx context.Context, d time.Duration) (usage, error) {
	n := int((d + h.signEvery - 1) / h.signEvery)
	first, err := h.pool.reserve(n)
	if err != nil {
		return usage{}, err
	}
	singles, err := h.pool.texts(first, n)
	if err != nil {
		return usage{}, err
	}
	var u usage
	var uploadErr error
	var group sync.WaitGroup
	start := time.Now()
	group.Go(func() { u.uploads, uploadErr = h.upload(ctx, start, d) })
	group.Go(func() { u.signings = h.sign(ctx, start, singles) })
	group.Wait()
	return u, errors.Join(uploadErr, ctx.Err(), h.server.alive())
}

// upload sends one upload after the other.
func (h *honestUser) upload(ctx context.Context, start time.Time, d time.Duration) ([]sample, error) {
	var all []sample
	for at := time.Duration(0); at < d; at += h.uploadEvery {
		b, err := h.pool.unsent(h.pairs)
		if err != nil {
			return all, err
		}
		if err := pause.For(ctx, time.Until(start.Add(at))); err != nil {
			return all, err
		}
		all = append(all, h.uploadOnce(ctx, start.Add(at), b))
	}
	return all, nil
}

// sign sends all pairs, each when it is due.
func (h *honestUser) sign(ctx context.Context, start time.Time, pairs []textPair) []sample {
	all := make([]sample, len(pairs))
	places := make(chan struct{}, mostSignings)
	var group sync.WaitGroup
	for i, p := range pairs {
		intended := start.Add(time.Duration(i) * h.signEvery)
		if pause.For(ctx, time.Until(intended)) != nil {
			all = all[:i]
			break
		}
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			all[i] = h.signOnce(ctx, intended, p)
		})
	}
	group.Wait()
	return all
}

// uploadOnce sends one upload until it is accepted, and waits for its counts.
func (h *honestUser) uploadOnce(ctx context.Context, intended time.Time, b *body) sample {
	s := sample{bytes: b.size()}
	head := "POST " + h.server.base.Path + "/api/v1/asyncsign/" + b.site + " HTTP/1.1\r\nHost: " + h.server.base.Host +
		"\r\nContent-Length: " + fmt.Sprint(b.size()) + "\r\nIdempotency-Key: " + uuid.NewString() + "\r\n\r\n"
	what := "upload for " + b.site
	for {
		r, ok := h.insist(ctx, &s, what, func(c *conn) (reply, error) { return c.exchange(ctx, head, b, nil) })
		if !ok {
			return s
		}
		if r.upload() != "" { // it may have been accepted; the key makes it the same upload
			continue
		}
		var receipt struct{ UUID, Hashes string }
		if json.Unmarshal(r.body, &receipt) != nil || receipt.UUID == "" || receipt.Hashes != fmt.Sprint(b.want.pairs()) {
			s.wrong = fmt.Errorf("%s: the answer is %.200q", what, r.body)
			return s
		}
		if h.result(ctx, &s, receipt.UUID, b.want) {
			s.took = time.Since(intended)
		}
		return s
	}
}

// signOnce signs one pair. A signing whose connection was lost isn't sent again: nobody could tell its duplicate from
// somebody else's. One whose answer names an upload is asked for.
func (h *honestUser) signOnce(ctx context.Context, intended time.Time, p textPair) sample {
	var s sample
	what := "signing for " + h.pool.site
	for {
		r, ok := h.insist(ctx, &s, what, func(c *conn) (reply, error) {
			if len(s.failures) > 0 {
				return reply{}, errGaveUp
			}
			return c.get(ctx, "/api/v1/sign/"+h.pool.site+"?hash="+string(p.hash)+"&sig="+string(p.signature))
		})
		if !ok {
			return s
		}
		if r.status != http.StatusOK { // it may have been accepted
			again, done := h.outcome(ctx, &s, r.upload(), counts{OK: 1})
			if again {
				continue
			}
			if !done {
				return s
			}
		} else if want := h.receipt(p); string(r.body) != want {
			s.wrong = fmt.Errorf("%s: the answer is %.100q instead of %.100q", what, r.body, want)
			return s
		}
		s.took = time.Since(intended)
		return s
	}
}

// receipt is the only right answer to a signing.
func (h *honestUser) receipt(p textPair) string {
	standard := strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(string(p.signature))
	return "signed OK " + h.pool.site + " " + string(p.hash) + " " + standard
}

// outcome polls an upload that may not have been accepted. again says that it was not.
func (h *honestUser) outcome(ctx context.Context, s *sample, id string, want counts) (again, done bool) {
	before := len(s.failures)
	done = h.result(ctx, s, id, want)
	if len(s.failures) > before && errors.Is(s.failures[before], errUnknownUpload) {
		s.failures = s.failures[:before]
		return true, false
	}
	return false, done
}

// result polls an upload until its counts are there, and compares them. done is false where they never were, or are
// wrong; then the sample says why.
func (h *honestUser) result(ctx context.Context, s *sample, id string, want counts) (done bool) {
	what := "poll of upload " + id
	for begun := time.Now(); ; {
		r, ok := h.insist(ctx, s, what, func(c *conn) (reply, error) { return c.get(ctx, "/api/v1/resultasync/"+id) })
		if !ok {
			return false
		}
		if r.status == http.StatusNotFound {
			s.failures = append(s.failures, fmt.Errorf("%s: %w", what, errUnknownUpload))
			return false
		}
		var got counts
		waiting := 1
		var err error
		if r.status == http.StatusOK {
			got, waiting, err = parseStatus(r)
		}
		switch {
		case err != nil || waiting == 0 && got != want || got.OK > want.OK || got.pairs() > got.OK:
			s.wrong = fmt.Errorf("%s: the status is %.200q, and must end with %+v", what, r.body, want)
			return false
		case waiting == 0:
			return true
		case time.Since(begun) > honestPatience:
			s.failures = append(s.failures, fmt.Errorf("%s: no result within %s: %.200q", what, honestPatience, r.body))
			return false
		}
		if pause.For(ctx, min(max(time.Since(begun)/pollShare, firstPause), mostPause)) != nil {
			return false
		}
	}
}

var (
	errGaveUp        = errors.New("it is not sent again")
	errUnknownUpload = errors.New("the service does not know the upload")
)

// insist sends a request, again and again where the service asks for that, until it is answered: with 200, with 404, or
// with a problem that names the upload to ask for. ok is false where it never was, or the context ended; then the
// sample says why.
func (h *honestUser) insist(ctx context.Context, s *sample, what string, send func(*conn) (reply, error)) (r reply, ok bool) {
	for begun := time.Now(); ; {
		r, err := h.try(ctx, s, send)
		switch {
		case ctx.Err() != nil || errors.Is(err, errGaveUp):
			return r, false
		case err != nil:
			s.failures = append(s.failures, fmt.Errorf("%s: %w", what, err))
		case r.status == http.StatusOK || r.status == http.StatusNotFound:
			return r, true
		case r.status == http.StatusTooManyRequests && r.retryAfter > 0:
			s.shared++
		case r.status == http.StatusRequestTimeout && r.retryAfter > 0, r.status == http.StatusServiceUnavailable && r.retryAfter > 0,
			r.status == http.StatusGatewayTimeout && r.upload() != "":
			s.refusals = append(s.refusals, r.problem(what))
			if r.upload() != "" {
				return r, true
			}
		default:
			s.failures = append(s.failures, r.problem(what))
			return r, false
		}
		if time.Since(begun) > honestPatience {
			s.failures = append(s.failures, fmt.Errorf("%s: not answered within %s", what, honestPatience))
			return r, false
		}
		if pause.For(ctx, max(r.retryAfter, honestAgain)) != nil {
			return r, false
		}
	}
}

// try sends a request over a connection of its own.
func (h *honestUser) try(ctx context.Context, s *sample, send func(*conn) (reply, error)) (reply, error) {
	c := h.server.dialFrom(h.from)
	defer c.close()
	begun := time.Now()
	err := c.dial(ctx)
	s.connect = max(s.connect, time.Since(begun))
	if err != nil {
		return reply{}, err
	}
	return send(c)
}

// upload is the one that a problem names; empty: none.
func (r reply) upload() string {
	var document struct{ UUID string }
	if r.status == http.StatusOK || json.Unmarshal(r.body, &document) != nil {
		return ""
	}
	return document.UUID
}
