package dedupe

import (
	"testing"

	"pgregory.net/rapid"
)

// recent behaves as a map and a list of its keys, oldest first, through growth, wrap-around, shrinking and colliding
// tags.
func TestRecentIsAMapInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r recent
		m := newMixer([16]byte{5})
		want, order := map[[HashSize]byte]Owner{}, [][HashSize]byte(nil)
		hash := rapid.Custom(func(t *rapid.T) [HashSize]byte {
			return [HashSize]byte{byte(rapid.IntRange(0, 255).Draw(t, "h")), byte(rapid.IntRange(0, 31).Draw(t, "h"))}
		})
		serial := uint32(0)
		t.Repeat(map[string]func(*rapid.T){
			"put many": func(t *rapid.T) {
				for range rapid.IntRange(1, 1500).Draw(t, "n") {
					serial++
					h := [HashSize]byte{byte(serial), byte(serial >> 8), byte(serial >> 16), 1}
					if _, _, added := r.put(m.mix(h[:]), h[:], Owner{Position: serial}); !added {
						t.Fatalf("a new hash was there")
					}
					want[h], order = Owner{Position: serial}, append(order, h)
				}
			},
			"put": func(t *rapid.T) {
				h := hash.Draw(t, "hash")
				serial++
				was, place, added := r.put(m.mix(h[:]), h[:], Owner{Position: serial})
				if w, ok := want[h]; ok == added || ok && w != was {
					t.Fatalf("put says %v, %v; want %v, %v", was, added, w, !ok)
				}
				if added {
					want[h], order = Owner{Position: serial}, append(order, h)
				}
				if age := r.age(place); order[age] != h {
					t.Fatalf("the row is said to be number %d", age)
				}
			},
			"drop": func(t *rapid.T) {
				n := rapid.IntRange(0, len(order)).Draw(t, "n")
				r.dropOldest(n, m)
				for _, h := range order[:n] {
					delete(want, h)
				}
				order = order[n:]
			},
			"shrink": func(t *rapid.T) {
				keep := rapid.IntRange(0, 4000).Draw(t, "keep")
				r.shrink(keep)
				if len(r.rows) > max(4*max(keep, r.count), 2*minRing) {
					t.Fatalf("%d places for %d rows, %d to keep", len(r.rows), r.count, keep)
				}
			},
			"": func(t *rapid.T) {
				if r.count != len(order) {
					t.Fatalf("%d rows, want %d", r.count, len(order))
				}
				for h, w := range want {
					if got, ok := r.owner(m.mix(h[:]), h[:]); !ok || got != w {
						t.Fatalf("find = %v, %v; want %v", got, ok, w)
					}
				}
				h := hash.Draw(t, "stranger")
				if _, ok := r.owner(m.mix(h[:]), h[:]); ok != has(want, h) {
					t.Fatalf("find = %v, want %v", ok, !ok)
				}
			},
		})
	})
}

// Equal tags, which a million rows have by chance, are told apart by the hash, and survive each other's removal.
func TestEqualTags(t *testing.T) {
	var r recent
	m := mixed{a: 42}
	for i := range 100 {
		h := [HashSize]byte{byte(i)}
		if _, _, added := r.put(m, h[:], Owner{Position: uint32(i)}); !added {
			t.Fatalf("row %d was there", i)
		}
	}
	for i := range 100 {
		h := [HashSize]byte{byte(i)}
		slot, place := r.search(42, h[:])
		if place != i {
			t.Fatalf("row %d is at %d", i, place)
		}
		r.free(slot)
	}
	for i, s := range r.slots {
		if s != 0 {
			t.Errorf("slot %d is not empty", i)
		}
	}
}

func has[K comparable, V any](m map[K]V, k K) bool { _, ok := m[k]; return ok }
