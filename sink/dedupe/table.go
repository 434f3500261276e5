package dedupe

// The rule, and the Table that applies it to the claims of one shard.

import (
	"unsafe"

	"github.com/google/uuid"
)

// HashSize is the length of a SHA-256 in bytes.
const HashSize = 32

const rowBytes = int(unsafe.Sizeof(row{}))

// Owner is the claim that a hash belongs to.
type Owner struct {
	Upload   uuid.UUID
	Position uint32 // of the pair in its upload, from 0
	Site     uint64 // stands for the claim's site: two sites have different numbers, in the lifetime of a Table
}

// Verdict is what became of a claim.
type Verdict uint8

const (
	// Added: the claim is the first to its hash; its row has to be written.
	Added Verdict = iota + 1
	// Replayed: the claim owns its hash already, and the row is stored or among those being written. It counts as
	// added.
	Replayed
	// Duplicate: another claim of the same site owns the hash.
	Duplicate
	// Cosigned: a claim of another site owns the hash. It counts as a duplicate, and its signature is kept.
	Cosigned
)

// IsDuplicate reports whether another claim owns the hash.
func (v Verdict) IsDuplicate() bool { return v == Duplicate || v == Cosigned }

// Config of a Table.
type Config struct {
	// ExpectedHashes is how many hashes Load will bring. The filter has room for a quarter more before it grows.
	ExpectedHashes uint64
	// Key must be random and stay secret: whoever knows it can make hashes that the filter takes for stored.
	Key [16]byte
	// Recent is how many rows stay in memory after they were confirmed, so that claims to them need no lookup.
	// A row's place takes 80 bytes; there are up to four times as many places as Recent once a burst is over.
	Recent int
}

// Table knows the hashes of one shard, from its assignment on. It belongs to one goroutine. The zero Table is not
// usable.
type Table struct {
	mixer  mixer
	filter filter
	recent recent

	keep           int  // how many confirmed rows stay
	unconfirmed    int  // how many of recent, its newest, aren't confirmed
	open           int  // claims probed and not yet resolved
	metUnconfirmed bool // by the last Resolve

	touched uint64 // keeps reads from being optimised away: nobody looks at the sum, but the compiler can't know
}

// New makes the table of a shard that holds nothing yet.
func New(c Config) *Table {
	return &Table{mixer: newMixer(c.Key), filter: newFilter(c.ExpectedHashes), keep: c.Recent}
}

// Load takes in hashes that are stored, 32 bytes each, in any order and number; repeated ones do no harm. They are not
// retained. Everything stored when the walk of the log begins has to be loaded before the first Probe.
func (t *Table) Load(hashes []byte) {
	t.eachMixed(hashes, func(_ []byte, m mixed) { t.filter.add(m) })
}

// Probe looks at the hashes of the next claims, 32 bytes each, and appends to ask those that may be stored and aren't
// in memory: only these have to be looked up before the claims are resolved. It may be called several times in a row
// for one run. Neither slice is retained.
func (t *Table) Probe(hashes, ask []byte) []byte {
	t.open += len(hashes) / HashSize
	t.eachMixed(hashes, func(hash []byte, m mixed) {
		if !t.filter.has(m) {
			return
		}
		if _, ok := t.recent.owner(m, hash); !ok {
			ask = append(ask, hash...)
		}
	})
	return ask
}

// Resolve decides the next claims, in the order of the log and each after it was probed, and appends a verdict for each
// to verdicts. Claim i is of hashes[32*i:] by pair positions[i] of upload, which is the site's. stored says who owns a
// hash in the store, as the lookup of what Probe asked for found it; it may be nil when nothing was found. Nothing is
// retained.
func (t *Table) Resolve(
	hashes []byte, upload uuid.UUID, site uint64, positions []uint32, stored func(hash []byte) (Owner, bool), verdicts []Verdict,
) []Verdict {
	i := 0
	t.metUnconfirmed = false
	t.eachMixed(hashes, func(hash []byte, m mixed) {
		verdicts = append(verdicts, t.resolve(hash, m, Owner{upload, positions[i], site}, stored))
		i++
	})
	if t.open -= i; t.open == 0 {
		t.dropConfirmed()
	}
	return verdicts
}

func (t *Table) resolve(hash []byte, m mixed, claim Owner, stored func([]byte) (Owner, bool)) Verdict {
	if stored != nil {
		if owner, ok := stored(hash); ok {
			return verdictOf(claim, owner)
		}
	}
	owner, place, added := t.recent.put(m, hash, claim)
	if !added {
		t.metUnconfirmed = t.metUnconfirmed || t.recent.age(place) >= t.recent.count-t.unconfirmed
		return verdictOf(claim, owner)
	}
	t.filter.add(m)
	t.unconfirmed++
	return Added
}

// verdictOf says what becomes of a claim to a hash that has an owner.
func verdictOf(claim, owner Owner) Verdict {
	switch {
	case owner.Upload == claim.Upload && owner.Position == claim.Position:
		return Replayed
	case owner.Site == claim.Site:
		return Duplicate
	}
	return Cosigned
}

// Confirm says that the n oldest rows that Resolve called Added, and that no Confirm has named yet, are stored: lookups
// find them. It may be called at any time.
func (t *Table) Confirm(n int) {
	t.unconfirmed -= n
	if t.open == 0 {
		t.dropConfirmed()
	}
}

// dropConfirmed drops confirmed rows beyond those to keep. It is not called within a run: Probe relies on the rows in
// memory when it leaves their hashes out of what is looked up.
func (t *Table) dropConfirmed() {
	if n := t.recent.count - t.unconfirmed - t.keep; n > 0 {
		t.recent.dropOldest(n, t.mixer)
		t.recent.shrink(t.keep)
	}
}

// MetUnconfirmed reports whether the last Resolve met a claim whose hash is owned by a row that isn't confirmed to be
// stored. Whoever asks the store for that hash may not find it yet.
func (t *Table) MetUnconfirmed() bool { return t.metUnconfirmed }

// Forget drops all rows in memory, and what was probed and not resolved. The table is then as if it had loaded every
// hash that it has seen added: claims to rows that were not confirmed have to be looked up, like all others.
func (t *Table) Forget() {
	t.recent = recent{}
	t.unconfirmed, t.open, t.metUnconfirmed = 0, 0, false
}

// Bytes is the memory that the table holds.
func (t *Table) Bytes() int { return t.filter.bytes() + t.recent.bytes() }

// ahead is how many hashes are mixed before the first of them is used.
const ahead = 128

// eachMixed calls do with each hash and its mix. It mixes some hashes ahead of their use and touches the memory that
// they lead to. Nothing waits for those loads, so the processor has many cache misses in flight at once. That halves
// the time of a table that doesn't fit into the caches.
func (t *Table) eachMixed(hashes []byte, do func(hash []byte, m mixed)) {
	var mixes [ahead]mixed
	for len(hashes) >= HashSize {
		n := min(len(hashes)/HashSize, ahead)
		for i := range n {
			mixes[i] = t.mixer.mix(hashes[i*HashSize:])
		}
		t.touched += t.filter.touch(mixes[:n]) + t.recent.touch(mixes[:n])
		for i := range n {
			do(hashes[i*HashSize:(i+1)*HashSize], mixes[i])
		}
		hashes = hashes[n*HashSize:]
	}
}
