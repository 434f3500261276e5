package sink

import (
	"context"

	"countersign/sink/dedupe"
	"countersign/sink/store"
)

// A question to the store costs about the same whether it names one hash or a thousand. So questions of all shards that
// come while another one is being answered are asked together.
//
// Questions about few hashes are answered apart from the others. New hashes come to few questions, where the filter
// says "maybe" wrongly, and those must not wait for somebody who sends a million hashes again.

// fewHashes is how many hashes a question about few names at most.
const fewHashes = 1024

// maxLookup is where merging stops. The question of one run is asked whole, however large it is.
const maxLookup = 100_000 // hashes

// ownersOf is an answer: the owners of those hashes that are stored.
type ownersOf map[[dedupe.HashSize]byte]store.Owner

// lookup is one shard's question.
type lookup struct {
	hashes []byte        // not to be changed before done is closed
	owners ownersOf      // readable once done is closed; may hold other shards' hashes, and is for reading only
	done   chan struct{} // closed when owners is set
}

// lookUp returns the stored owners of hashes; the only error is that ctx ended, and then hashes may still be in use.
func (st *stage) lookUp(ctx context.Context, hashes []byte) (ownersOf, error) {
	if len(hashes) == 0 {
		return nil, nil
	}
	l := &lookup{hashes: hashes, done: make(chan struct{})}
	questions := st.many
	if len(hashes) <= fewHashes*dedupe.HashSize {
		questions = st.few
	}
	select {
	case questions <- l:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-l.done:
		return l.owners, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// answerLookups answers questions, one after the other, until ctx ends.
func (st *stage) answerLookups(ctx context.Context, questions <-chan *lookup) {
	var together []*lookup
	var merged []byte
	for {
		select {
		case l := <-questions:
			together = append(together[:0], l)
		case <-ctx.Done():
			return
		}
		together = gather(together, questions)
		hashes := together[0].hashes
		if len(together) > 1 {
			merged = merged[:0]
			for _, l := range together {
				merged = append(merged, l.hashes...)
			}
			hashes = merged
		}
		owners := make(ownersOf)
		if st.retry(ctx, "looking up owners", func() error { return st.Store.Owners(ctx, hashes, owners) }) != nil {
			return
		}
		for _, l := range together {
			l.owners = owners
			close(l.done)
		}
		clear(together)
	}
}

// gather adds the questions that are waiting.
func gather(together []*lookup, questions <-chan *lookup) []*lookup {
	for n := len(together[0].hashes); n < maxLookup*dedupe.HashSize; {
		select {
		case l := <-questions:
			together = append(together, l)
			n += len(l.hashes)
		default:
			return together
		}
	}
	return together
}
