package queue

import (
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestQueueKeepsItsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := New[int]()
		var model []int
		next := 0
		take := func(items []int) {
			if !slices.Equal(items, model[:len(items)]) {
				t.Fatalf("took %v of %v", items, model)
			}
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				for range rapid.IntRange(0, 4).Draw(t, "puts") {
					q.Put(next)
					model = append(model, next)
					next++
				}
			case 1:
				items := q.Take()
				if len(items) != len(model) {
					t.Fatalf("took %d of %d", len(items), len(model))
				}
				take(items)
				model = nil
			case 2:
				most, n := rapid.IntRange(0, 4).Draw(t, "most"), 0
				items := q.TakeWhile(nil, func(int) bool { n++; return n <= most })
				if want := min(max(most, 1), len(model)); len(items) != want {
					t.Fatalf("took %d, want %d", len(items), want)
				}
				take(items)
				model = model[len(items):]
			case 3:
				back := q.TakeWhile(nil, func(int) bool { return rapid.Bool().Draw(t, "more") })
				q.PutBack(back...)
			case 4:
				most := rapid.IntRange(0, 8).Draw(t, "bound")
				items := make([]int, rapid.IntRange(0, 4).Draw(t, "puts within"))
				for i := range items {
					items[i] = next
					next++
				}
				fits := len(model)+len(items) <= most
				if fits {
					model = append(model, items...)
				}
				if q.PutWithin(most, items...) != fits {
					t.Fatalf("%d items on top of %d, at most %d: want %t", len(items), len(model), most, fits)
				}
			}
			if q.Len() != len(model) {
				t.Fatalf("has %d items, want %d", q.Len(), len(model))
			}
		}
	})
}

func TestWhoeverWaitsForReadyGetsEverything(t *testing.T) {
	q := New[int]()
	const writers, each = 8, 1000
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for i := range each {
				q.Put(i)
			}
		})
	}
	for n := 0; n < writers*each; {
		<-q.Ready()
		for items := q.TakeWhile(nil, func(int) bool { return n%3 != 0 }); len(items) > 0; items = q.Take() {
			n += len(items)
		}
	}
	wg.Wait()
}
