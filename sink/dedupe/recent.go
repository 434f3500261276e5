package dedupe

// The rows in memory.

// recent holds the rows that a shard added last, oldest first. It holds all rows that aren't confirmed to be stored,
// because nothing else knows them yet. It also holds a bounded number of confirmed ones, because whoever sends hashes
// twice sends them soon after.
//
// The rows are a ring. Beside it lies an index with linear probing, at most half full, whose slots hold the row's place
// and 32 bits of its mix; the oldest row leaves by shifting back what probed past it, so the index has no tombstones.
//
// Rejected: map[[32]byte]Owner with deletes, which needs the order of the rows beside it all the same and takes three
// times as long.

// row is 64 bytes; with its two slots of the index, 80.
type row struct {
	hash  [HashSize]byte
	owner Owner
}

type recent struct {
	rows  []row    // ring; len is a power of two, or 0
	slots []uint64 // tag<<32 | place+1, 0 when empty; len is twice that of rows
	head  int      // place of the oldest
	count int

	touched uint64 // as in Table
}

const minRing = 1 << 10

// owner returns the owner of hash, whose mix is m.
func (r *recent) owner(m mixed, hash []byte) (Owner, bool) {
	if r.count == 0 {
		return Owner{}, false
	}
	_, place := r.search(uint32(m.a), hash)
	if place < 0 {
		return Owner{}, false
	}
	return r.rows[place].owner, true
}

// put adds a row unless the hash is there, and returns the owner that is there then, and its place.
func (r *recent) put(m mixed, hash []byte, owner Owner) (was Owner, place int, added bool) {
	if r.count == len(r.rows) {
		r.resize(max(minRing, 2*len(r.rows)))
	}
	tag := uint32(m.a)
	slot, place := r.search(tag, hash)
	if place >= 0 {
		return r.rows[place].owner, place, false
	}
	place = (r.head + r.count) & (len(r.rows) - 1)
	r.rows[place] = row{hash: [HashSize]byte(hash), owner: owner}
	r.slots[slot] = uint64(tag)<<32 | uint64(place+1)
	r.count++
	return owner, place, true
}

// age is how many rows are older than the one at place.
func (r *recent) age(place int) int { return (place - r.head) & (len(r.rows) - 1) }

// search returns the slot of hash and its place in the ring, or the empty slot where it belongs and -1.
func (r *recent) search(tag uint32, hash []byte) (slot, place int) {
	mask := len(r.slots) - 1
	for i := int(tag) & mask; ; i = (i + 1) & mask {
		s := r.slots[i]
		if s == 0 {
			return i, -1
		}
		if uint32(s>>32) != tag {
			continue
		}
		if p := int(uint32(s)) - 1; string(r.rows[p].hash[:]) == string(hash) {
			return i, p
		}
	}
}

// dropOldest forgets the n oldest rows.
func (r *recent) dropOldest(n int, m mixer) {
	var mixes [ahead]mixed
	for n > 0 {
		k := min(n, ahead)
		for i := range k {
			mixes[i] = m.mix(r.rows[(r.head+i)&(len(r.rows)-1)].hash[:])
		}
		r.touched += r.touch(mixes[:k])
		for i := range k {
			slot, _ := r.search(uint32(mixes[i].a), r.rows[r.head].hash[:])
			r.free(slot)
			r.head = (r.head + 1) & (len(r.rows) - 1)
			r.count--
		}
		n -= k
	}
}

// touch reads the slots where ms are looked for first. Its result only keeps the reads from being optimised away.
func (r *recent) touch(ms []mixed) (sum uint64) {
	if r.count == 0 {
		return 0
	}
	mask := len(r.slots) - 1
	for i := range ms {
		sum += r.slots[int(uint32(ms[i].a))&mask]
	}
	return sum
}

// free empties a slot and moves up the slots behind it that may not stand behind a gap.
func (r *recent) free(gap int) {
	mask := len(r.slots) - 1
	for i := (gap + 1) & mask; r.slots[i] != 0; i = (i + 1) & mask {
		home := int(r.slots[i]>>32) & mask
		if (i-home)&mask >= (i-gap)&mask {
			r.slots[gap] = r.slots[i]
			gap = i
		}
	}
	r.slots[gap] = 0
}

// resize moves the rows, in their order, to a ring of n, a power of two that holds them.
func (r *recent) resize(n int) {
	rows, slots := make([]row, n), make([]uint64, 2*n)
	mask := len(slots) - 1
	for _, s := range r.slots {
		if s == 0 {
			continue
		}
		age := r.age(int(uint32(s)) - 1)
		rows[age] = r.rows[(r.head+age)&(len(r.rows)-1)]
		i := int(s>>32) & mask
		for slots[i] != 0 {
			i = (i + 1) & mask
		}
		slots[i] = s>>32<<32 | uint64(age+1)
	}
	r.rows, r.slots, r.head = rows, slots, 0
}

// shrink gives memory back once a burst is over.
func (r *recent) shrink(keep int) {
	n := minRing
	for n < max(keep, r.count) {
		n *= 2
	}
	if len(r.rows) > 2*n {
		r.resize(n)
	}
}

// bytes is the memory of the ring and its index.
func (r *recent) bytes() int { return len(r.rows)*rowBytes + len(r.slots)*8 }
