package verify

// Which certificates decide an upload. A decider finds the ones that the site has now and what they make of the signatures; the
// announcer appends that choice to the partition. It counts when it is read back, and only if it is the first: a replay after the
// site has changed or gone finds the same one (I5).

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"countersign/pipeline/certs"
	"countersign/pipeline/log"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

// decision is a Decision as read from the log.
type decision struct {
	chains []certs.Chain
	reason string // why there are none
}

// newDecision reads a decision. share replaces a chain by an equal one that is held already.
func newDecision(d *recordpb.Decision, chains []*recordpb.Chain, share func(certs.Chain) certs.Chain) *decision {
	out := &decision{reason: d.Reason}
	for _, i := range d.Chains {
		out.chains = append(out.chains, share(certs.Chain{Certificates: chains[i].Certificates}))
	}
	return out
}

// judgement is what a decider found: verdicts on the whole upload, in order, under the keys of its chains.
type judgement struct {
	chains   []certs.Chain
	verdicts [][]byte // by piece
}

// pieces gives use the chunks that it is called with, which must be those that were judged, with their verdicts.
func (j *judgement) pieces(use func(*piece) error) func(*recordpb.Chunk) error {
	rest := j.verdicts
	return func(c *recordpb.Chunk) error {
		next := &piece{chunk: c}
		if len(rest) == 0 || len(rest[0]) != next.pairs() {
			return broken("at position %d the log no longer holds what was judged", c.First)
		}
		next.verdicts, rest = rest[0], rest[1:]
		return use(next)
	}
}

// announcement is a decision on its way to the log.
type announcement struct {
	upload uuid.UUID
	chains []certs.Chain
	reason string
}

// decide works until the upload's choice is with the announcer, or ctx ends: because the partition goes, or because the log
// held a decision already. It settles u.found.
func (p *partition) decide(ctx context.Context, u *upload) {
	defer func() { <-p.deciding }()
	for {
		entry, err := p.stage.cfg.Certs.Get(ctx, u.seal.Site)
		if _, ok := errors.AsType[*certs.Unavailable](err); ok {
			p.propose(ctx, announcement{upload: u.id, reason: reasonOf(err)})
			return
		}
		var found *judgement
		if err == nil {
			found, err = p.judge(ctx, u, entry)
		}
		if err == nil && found.anyBad() {
			found, err = p.judgeAgain(ctx, u, entry, found)
		}
		switch {
		case err == nil:
			u.found = found
			p.propose(ctx, announcement{upload: u.id, chains: found.chains})
			return
		case errors.Is(err, errBroken): // the forwarder meets the same and tells of it
			p.propose(ctx, announcement{upload: u.id, reason: reasonOf(err)})
			return
		case p.pause(ctx, err) != nil:
			return
		}
	}
}

// judge returns the verdicts under entry's keys: those found while the chunks arrived, if they were, or new ones.
func (p *partition) judge(ctx context.Context, u *upload, entry *certs.Entry) (*judgement, error) {
	found := &judgement{chains: entry.Chains}
	if a := u.attempt; a != nil && len(a.pieces) > 0 {
		a.pending.Wait()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if a.err == nil && sameChains(a.entry.Chains, entry.Chains) {
			for _, piece := range a.pieces {
				found.verdicts = append(found.verdicts, piece.verdicts)
			}
			return found, nil
		}
	}
	if u.attempt == nil {
		turns := p.stage.turns(u.seal.Count)
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	err := p.eachPiece(ctx, u, entry.Keys, func(piece *piece) error {
		found.verdicts = append(found.verdicts, piece.verdicts)
		return nil
	})
	return found, err
}

// judgeAgain asks for newer certificates, because signatures failed, and judges by them if there are any.
func (p *partition) judgeAgain(ctx context.Context, u *upload, entry *certs.Entry, found *judgement) (*judgement, error) {
	newer, err := p.stage.cfg.Certs.Refetch(ctx, u.seal.Site, entry)
	if err != nil {
		return nil, err // it says nothing about the site
	}
	if newer == nil || sameChains(newer.Chains, entry.Chains) {
		return found, nil // the site served entry's certificates a while ago: they stand
	}
	return p.judge(ctx, u, newer)
}

func (j *judgement) anyBad() bool {
	for _, v := range j.verdicts {
		if anyBad(v) {
			return true
		}
	}
	return false
}

// reasonOf is what the uploader reads beside every hash.
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

func (p *partition) propose(ctx context.Context, a announcement) {
	select {
	case p.announced <- a:
	case <-ctx.Done():
	}
}

// announce appends decisions, as many to a record as are waiting: chains are large, and uploads of one site share them.
func (p *partition) announce(ctx context.Context) error {
	for {
		var builder decisionsBuilder
		select {
		case a := <-p.announced:
			builder.add(a)
		case <-ctx.Done():
			return ctx.Err()
		}
		for more := true; more && !builder.full(); {
			select {
			case a := <-p.announced:
				builder.add(a)
			default:
				more = false
			}
		}
		err := p.send(ctx, record.TopicUploads, p.log.ID(), record.Encode(&recordpb.Upload{
			Kind: &recordpb.Upload_Decisions{Decisions: &builder.record},
		}))
		if err != nil {
			return err
		}
	}
}

// decisionsBuilder gathers decisions into one record, each chain once.
type decisionsBuilder struct {
	record recordpb.Decisions
	index  map[[32]byte]uint32
	bytes  int
}

// maxDecisions is where a record of decisions stops growing, in bytes. It leaves room for one more: two chains of as many bytes as a
// handshake may bring (crypto/tls: 256 KiB of certificates), with their roots.
const maxDecisions = record.MaxBytes - 2*(256<<10) - 16<<10

func (b *decisionsBuilder) full() bool {
	return b.bytes > maxDecisions || len(b.record.Decisions) >= 4096
}

func (b *decisionsBuilder) add(a announcement) {
	d := &recordpb.Decision{Upload: a.upload[:], Reason: a.reason}
	b.bytes += len(a.reason) + 64
	for _, chain := range a.chains {
		fingerprint := chain.Fingerprint()
		i, ok := b.index[fingerprint]
		if !ok {
			i = uint32(len(b.record.Chains))
			b.record.Chains = append(b.record.Chains, &recordpb.Chain{Certificates: chain.Certificates})
			if b.index == nil {
				b.index = make(map[[32]byte]uint32)
			}
			b.index[fingerprint] = i
			for _, der := range chain.Certificates {
				b.bytes += len(der)
			}
		}
		d.Chains = append(d.Chains, i)
	}
	b.record.Decisions = append(b.record.Decisions, d)
}

// sameChains reports whether two sites' worth of chains end in the same leaves, in the same order.
func sameChains(a, b []certs.Chain) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(leafOf(a[i]), leafOf(b[i])) {
			return false
		}
	}
	return true
}

func leafOf(c certs.Chain) []byte {
	if len(c.Certificates) == 0 {
		return nil
	}
	return c.Certificates[0]
}

// errBroken is wrapped by errors that reading again does not mend.
var errBroken = errors.New("the upload's chunks are not in the log")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errBroken, fmt.Sprintf(format, args...))
}

// isGone reports whether the log has deleted what was asked for.
func isGone(err error) bool { return errors.Is(err, log.ErrOffsetGone) }
