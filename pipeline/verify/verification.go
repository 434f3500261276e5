package verify

// The verifying of one attempt: which pairs are checked under which leaves, what that costs, and when it is done. The
// workers do the checking, in turns, so adding a chunk never waits for them.

import (
	"crypto/sha256"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/pipeline/record/recordpb"
)

const (
	// budget is the worker time that an upload has, by the table of package signature. A million pairs under eight
	// leaves of RSA with 2048 bits take a third of it, and 20,000 pairs on P-521 all of it.
	budget = time.Minute
	// maxJob is where a job for the workers is cut, by the same table: other jobs wait for it.
	maxJob = 20 * time.Millisecond
	// maxWorstJob is where a job is cut by what its signatures take at worst.
	maxWorstJob = 100 * time.Millisecond
	// credit is the worker time that a site or a client has at once after a pause, whoever else always has work waiting.
	// 20,000 pairs of RSA with 2048 bits take a twentieth of it.
	credit = time.Second
	// maxDecisionLeaves is how many leaves a decision names at most.
	maxDecisionLeaves = certs.MaxLeaves
	// dearPrice is where a signature is so dear that equal pairs are looked for in the whole upload, and not in each
	// chunk alone.
	dearPrice = 50 * time.Microsecond
	// maxRemembered bounds the pairs of an upload among which equal ones are found across chunks.
	maxRemembered = 8192
)

// verification belongs to the reader until the attempt is sealed, then to the coordinator, or to the goroutine that
// reads the attempt again. Workers write verdicts and count themselves out.
type verification struct {
	stage    *Stage
	accounts []account
	chains   []certs.Chain
	keys     []certs.Key // of chains, in their order
	dear     bool        // a key's price is at least dearPrice

	left     time.Duration // of the budget
	limit    uint64        // pairs from this position on are not checked; 0: all are
	rest     bool          // some pair that failed was not checked under all keys, because nothing was left
	verdicts [][]byte      // of each chunk, in order; see worker.go
	position uint64        // of the pair that is expected next
	repeats  []repeat
	first    map[[32]byte]place // where a pair was met first, if dear

	cancelled atomic.Bool // the workers skip what is left
	mu        sync.Mutex
	out       int      // jobs that the workers have; guarded by mu
	idle      []func() // to be called once when out is 0; guarded by mu
}

// place is where a pair is: in which chunk, and where there.
type place struct{ chunk, index int }

// repeat is a pair that equals an earlier one.
type repeat struct{ pair, first place }

func (s *Stage) newVerification(site string, client []byte, chains []certs.Chain, keys []certs.Key) *verification {
	v := &verification{stage: s, accounts: accountsOf(site, client), left: budget}
	v.extend(chains, keys)
	return v
}

// newReplay is for an upload whose decision is known: what its budget bought is known, too.
func (s *Stage) newReplay(site string, client []byte, d *decision, keys []certs.Key) *verification {
	v := s.newVerification(site, client, d.chains, keys)
	v.left, v.limit = 1<<62, d.reached
	return v
}

// extend adds leaves. A verdict is the number of the first key that a signature is valid under, so checking only those
// that failed, under only the keys that are new, comes to the same as checking all under all.
func (v *verification) extend(chains []certs.Chain, keys []certs.Key) {
	room := maxKeys - len(v.keys)
	v.chains = append(v.chains, chains[:min(len(chains), room)]...)
	v.keys = append(v.keys, keys[:min(len(keys), room)]...)
	for _, key := range v.keys {
		v.dear = v.dear || key.Verifier.Price() >= dearPrice
	}
}

// add has the next chunk's pairs checked under all keys. done, which may be nil, is called when that is done, by a
// worker or at once.
func (v *verification) add(c *recordpb.Chunk, done func()) {
	n := len(c.Hashes) / record.HashSize
	verdicts := make([]byte, n)
	for _, u := range c.Unparsed {
		verdicts[u.Index] = unparsed
	}
	v.markRepeats(c, verdicts)
	v.verdicts = append(v.verdicts, verdicts)
	v.check(c, verdicts, v.position, 0, done)
	v.position += uint64(n)
}

// again has those pairs of a chunk checked that failed, under the keys from a number on. The chunks are those that were
// added, in order.
func (v *verification) again(c *recordpb.Chunk, chunk, from int, done func()) {
	v.check(c, v.verdicts[chunk], uint64(c.First), from, done)
}

// check makes jobs of the pairs that have no verdict yet, as far as the budget reaches.
func (v *verification) check(c *recordpb.Chunk, verdicts []byte, position uint64, from int, done func()) {
	keys := v.keys[from:]
	batch := &jobs{done: done}
	next := job{v: v, chunk: c, verdicts: verdicts, keys: keys, first: from, batch: batch}
	var cut []job
	var price, worst time.Duration
	end := func() {
		if len(next.pairs) > 0 {
			next.price = price
			cut = append(cut, next)
		}
		next.pairs, price, worst = nil, 0, 0
	}
	for i, verdict := range verdicts {
		if verdict != bad || v.limit > 0 && position+uint64(i) >= v.limit {
			continue
		}
		one, atWorst := v.priceOf(record.Uint16(c.SignatureLengths, i), keys)
		if one == 0 {
			continue
		}
		if v.left -= one; v.left < 0 {
			v.overspend(position+uint64(i), from)
			break
		}
		if price+one > maxJob || worst+atWorst > maxWorstJob {
			end()
		}
		if next.pairs == nil {
			next.pairs = make([]uint16, 0, len(verdicts)-i)
		}
		next.pairs = append(next.pairs, uint16(i))
		price += one
		worst += atWorst
	}
	end()
	v.submit(cut, batch)
}

// overspend notes that the budget ends at a position. Under the first keys it divides the upload. Under further keys
// all pairs that fail have one reason, because those before the position may be good under the same keys as those
// behind it.
func (v *verification) overspend(position uint64, from int) {
	v.left = 0
	if from > 0 {
		v.rest = true
		return
	}
	v.limit = max(position, 1)
	v.stage.metrics.overspent.Inc()
}

// priceOf is what it costs to check a signature of so many bytes under keys, by the table and at worst; 0: it fits none
// of them.
func (v *verification) priceOf(length int, keys []certs.Key) (price, worst time.Duration) {
	for i := range keys {
		if key := keys[i].Verifier; key.FitsLength(length) {
			price += key.Price()
			worst += key.WorstPrice()
		}
	}
	return price, worst
}

func (v *verification) submit(cut []job, batch *jobs) {
	if len(cut) == 0 {
		if batch.done != nil {
			batch.done()
		}
		return
	}
	batch.left.Store(int32(len(cut)))
	v.mu.Lock()
	v.out += len(cut)
	v.mu.Unlock()
	for i := range cut {
		cut[i].queued = v.stage.cfg.Clock()
		v.stage.jobs.Put(cut[i], int64(cut[i].price), v.accounts...)
	}
}

// finish is called by the worker that has done a job.
func (v *verification) finish() {
	v.mu.Lock()
	v.out--
	var idle []func()
	if v.out == 0 {
		idle, v.idle = v.idle, nil
	}
	v.mu.Unlock()
	for _, f := range idle {
		f()
	}
}

// whenIdle has f called when the workers have no job of v: at once, or by the worker that does the last one.
func (v *verification) whenIdle(f func()) {
	v.mu.Lock()
	if v.out > 0 {
		v.idle = append(v.idle, f)
		v.mu.Unlock()
		return
	}
	v.mu.Unlock()
	f()
}

// markRepeats gives the pairs of a new chunk that equal an earlier one the verdict repeated, and remembers which that
// is.
func (v *verification) markRepeats(c *recordpb.Chunk, verdicts []byte) {
	chunk, before := len(v.verdicts), len(v.repeats)
	mark := func(index int, first place) {
		verdicts[index] = repeated
		v.repeats = append(v.repeats, repeat{place{chunk, index}, first})
	}
	if v.dear {
		v.markRepeatsOfUpload(c, verdicts, mark)
	}
	if len(verdicts) > 1 {
		e := equalsPool.Get().(*equals)
		e.find(c, verdicts, func(index, first int) { mark(index, place{chunk, first}) })
		equalsPool.Put(e)
	}
	v.stage.metrics.saved.Add(float64(len(v.repeats) - before))
}

// markRepeatsOfUpload finds pairs that equal one of this chunk or another. It comes before the search in the chunk
// alone, so that no pair repeats one that is a repetition itself.
func (v *verification) markRepeatsOfUpload(c *recordpb.Chunk, verdicts []byte, mark func(index int, first place)) {
	if v.first == nil {
		v.first = make(map[[32]byte]place)
	}
	at := 0
	var text []byte
	for i, verdict := range verdicts {
		length := record.Uint16(c.SignatureLengths, i)
		signature := c.Signatures[at : at+length]
		at += length
		if verdict != bad || length == 0 {
			continue
		}
		text = record.AppendHexText(text[:0], c.Hashes[i*record.HashSize:(i+1)*record.HashSize], record.Bit(c.Upper, i))
		digest := sha256.Sum256(append(text, signature...))
		if first, met := v.first[digest]; met {
			mark(i, first)
		} else if len(v.first) < maxRemembered {
			v.first[digest] = place{len(v.verdicts), i}
		}
	}
}

// resolveRepeats gives repeated pairs the verdicts of those that they equal.
func (v *verification) resolveRepeats() {
	for _, r := range v.repeats {
		v.verdicts[r.pair.chunk][r.pair.index] = v.verdicts[r.first.chunk][r.first.index]
	}
	v.repeats, v.first = nil, nil
}

// anyBad reports whether a signature failed, of those that the budget reached.
func (v *verification) anyBad() bool {
	left := uint64(1<<63 - 1)
	if v.limit > 0 {
		left = v.limit
	}
	for _, verdicts := range v.verdicts {
		n := min(left, uint64(len(verdicts)))
		if slices.Contains(verdicts[:n], bad) {
			return true
		}
		left -= n
	}
	return false
}

// settle leaves only those chains that a signature is valid under, so that a decision names no more, or the first chain
// where there is none. It reports whether all of them had room. The jobs are done.
func (v *verification) settle() (complete bool) {
	v.resolveRepeats()
	var counts [256]int
	for _, verdicts := range v.verdicts {
		for _, verdict := range verdicts {
			counts[verdict]++
		}
	}
	var number [256]byte
	number[unparsed] = unparsed
	var chains []certs.Chain
	var keys []certs.Key
	complete = true
	for k := range v.keys {
		switch {
		case counts[k+1] == 0:
		case len(chains) == maxDecisionLeaves:
			complete = false
		default:
			chains, keys = append(chains, v.chains[k]), append(keys, v.keys[k])
			number[k+1] = byte(len(chains))
		}
	}
	if len(chains) == 0 {
		chains, keys = v.chains[:1], v.keys[:1]
	}
	v.chains, v.keys = chains, keys
	for _, verdicts := range v.verdicts {
		for i, verdict := range verdicts {
			verdicts[i] = number[verdict]
		}
	}
	return complete
}

// attach returns a function that takes an upload's chunks in order and calls use with each and the verdicts on it. The
// chunks must be cut as those were that the verdicts are on.
func (v *verification) attach(use func(*recordpb.Chunk, []byte) error) func(*recordpb.Chunk) error {
	rest := v.verdicts
	return func(c *recordpb.Chunk) error {
		if len(rest) == 0 || len(rest[0]) != len(c.Hashes)/record.HashSize {
			return unrecoverable("at position %d the log no longer holds what was verified", c.First)
		}
		verdicts := rest[0]
		rest = rest[1:]
		return use(c, verdicts)
	}
}
