package admission

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func newReply(t *testing.T, a *Admission, n int, bytes int64) (*Reply, error) {
	t.Helper()
	r := a.Replies.New(Who{Client: client(n)})
	t.Cleanup(r.Release)
	return r, r.Reserve(t.Context(), bytes)
}

func TestSmallRepliesNeedNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(t, Config{Replies: []ReplySize{{Bytes: 100}, {Name: "large", Bytes: 1000, Places: 2}, {Name: "larger", Places: 1}}})
		for n, bytes := range []int64{101, 1000, 1 << 40} {
			if _, err := newReply(t, a, n, bytes); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		for range 5000 {
			if _, err := newReply(t, a, 9, 100); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(began) != 0 {
			t.Error("a small reply waited")
		}
		// A reply that grows gives its place back before it waits for another one.
		r, err := newReply(t, a, 0, 50)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Reserve(t.Context(), 101); reasonOf(t, err) != Full {
			t.Error(err)
		}
		if held := a.Replies.gates[1].Held() + a.Replies.gates[2].Held(); held != 3 {
			t.Errorf("%d places are held", held)
		}
	})
}

// A client that keeps all places of a size, because it doesn't take its replies, gives way to another one within a
// second. Alone it may keep them.
func TestRepliesThatAreNotTakenGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(t, Config{})
		var kept []context.Context
		for {
			r, err := newReply(t, a, 1, 16<<20)
			if err != nil {
				if reasonOf(t, err) != Full || len(kept) != 16 {
					t.Fatalf("%v after %d replies", err, len(kept))
				}
				break
			}
			ctx, cancel := r.Context(context.Background())
			defer cancel()
			context.AfterFunc(ctx, r.Release) // as the end of its connection does
			kept = append(kept, ctx)
		}
		time.Sleep(time.Minute)
		for _, ctx := range kept {
			if ctx.Err() != nil {
				t.Fatal("a reply of a client alone was ended")
			}
		}
		began := time.Now()
		if _, err := newReply(t, a, 2, 16<<20); err != nil || time.Since(began) > 100*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		ended := 0
		for _, ctx := range kept {
			if errors.Is(context.Cause(ctx), ErrSlow) {
				ended++
			}
		}
		if ended != 1 {
			t.Errorf("%d replies were ended for one", ended)
		}
	})
}

// All replies together: what docs/isolation.md says.
func TestTheMemoryOfRepliesIsBounded(t *testing.T) {
	total := int64(1024) * usualReplies[0].Bytes // one for each call
	for _, size := range usualReplies[1:] {
		bytes := size.Bytes
		if bytes == 0 {
			bytes = 500 << 20 // of 100,000 errors
		}
		total += bytes * int64(size.Places)
	}
	if total != (64+256+256+1000)<<20 {
		t.Errorf("all replies together may take %d MiB", total>>20)
	}
}
