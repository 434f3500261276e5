package fifo

import (
	"testing"

	"pgregory.net/rapid"
)

func TestMapHoldsTheNewestKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 8).Draw(t, "most")
		m := New[int, int](most)
		var keys []int // the model: newest keys, oldest first
		values := map[int]int{}
		for i := range rapid.IntRange(0, 100).Draw(t, "puts") {
			k := rapid.IntRange(0, 12).Draw(t, "key")
			m.Put(k, i)
			if _, there := values[k]; !there {
				keys = append(keys, k)
				if len(keys) > most {
					delete(values, keys[0])
					keys = keys[1:]
				}
			}
			values[k] = i
			for k := range 13 {
				got, ok := m.Get(k)
				want, there := values[k]
				if ok != there || got != want {
					t.Fatalf("key %d: %d, %t; want %d, %t", k, got, ok, want, there)
				}
			}
		}
	})
}

func TestDeletedKeysAreGone(t *testing.T) {
	m := New[string, int](2)
	m.Put("a", 1)
	m.Delete("a")
	m.Delete("never there")
	if _, ok := m.Get("a"); ok {
		t.Error("it is still there")
	}
	m.Put("b", 2)
	m.Put("c", 3)
	m.Put("d", 4)
	if len(m.values) > 2 {
		t.Errorf("holds %d values of 2", len(m.values))
	}
}
