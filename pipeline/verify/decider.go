package verify

// Which certificates decide an upload. For each sealed upload, a decider finds the certificates that the site serves
// now and the verdicts under them, and proposes those certificates to the announcer. The proposal counts when it is
// read back from the log as a decision, and only if it is the first one for its upload. So a replay finds the same
// decision after the site has changed its certificate, or gone (I5).

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
)

// decider works on one sealed upload, on a goroutine of its own.
type decider struct {
	*partition
	upload *upload
}

// run works until the upload's decision is with the announcer, or until ctx ends: because the partition is revoked, or
// because the reader has met a decision for the upload.
func (d decider) run(ctx context.Context) {
	defer func() { <-d.deciding }()
	defer close(d.upload.deciderDone)
	for {
		a, err := d.decide(ctx)
		if err == nil {
			select {
			case d.announcements <- a:
			case <-ctx.Done():
			}
			return
		}
		if d.backOff(ctx, err) != nil {
			return
		}
	}
}

// decide finds the decision to announce, and the upload's verdicts. It is worth another try after any error but ctx's.
func (d decider) decide(ctx context.Context) (announcement, error) {
	u := d.upload
	entry, err := d.stage.cfg.Certs.Get(ctx, u.seal.Site)
	if _, ok := errors.AsType[*certs.Unavailable](err); ok {
		return announcement{upload: u.id, reason: reasonOf(err)}, nil
	}
	var found *verdicts
	if err == nil {
		found, err = d.verifyUnder(ctx, entry)
	}
	if err == nil && found.anyBad() {
		found, err = d.verifyUnderNewer(ctx, entry, found)
	}
	switch {
	case errors.Is(err, errUnrecoverable): // the forwarder meets the same error, and sends it to the dead letters
		return announcement{upload: u.id, reason: reasonOf(err)}, nil
	case err != nil:
		return announcement{}, err
	}
	u.verdicts = found
	return announcement{upload: u.id, chains: found.chains}, nil
}

// verifyUnder returns the verdicts under entry's keys: those that were found while the chunks arrived, or else new
// ones.
func (d decider) verifyUnder(ctx context.Context, entry *certs.Entry) (*verdicts, error) {
	u := d.upload
	found := &verdicts{chains: entry.Chains}
	if a := u.attempt; a != nil && len(a.pieces) > 0 {
		a.pending.Wait()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if a.keysErr == nil && sameChains(a.entry.Chains, entry.Chains) {
			for _, piece := range a.pieces {
				found.byPiece = append(found.byPiece, piece.verdicts)
			}
			return found, nil
		}
	}
	if u.attempt == nil {
		turns := d.stage.turns.of(u.seal.Count)
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	err := d.eachPiece(ctx, u, entry.Keys, func(piece *piece) error {
		found.byPiece = append(found.byPiece, piece.verdicts)
		return nil
	})
	return found, err
}

// verifyUnderNewer is for signatures that failed under entry's keys. It asks the site for newer certificates, and
// verifies again if there are any; otherwise what was found stands.
func (d decider) verifyUnderNewer(ctx context.Context, entry *certs.Entry, found *verdicts) (*verdicts, error) {
	newer, err := d.stage.cfg.Certs.Refetch(ctx, d.upload.seal.Site, entry)
	if err != nil {
		return nil, err // it says nothing about the site
	}
	if newer == nil || sameChains(newer.Chains, entry.Chains) {
		return found, nil // the site served entry's certificates a while ago: they stand
	}
	return d.verifyUnder(ctx, newer)
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
