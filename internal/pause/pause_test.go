package pause

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestForWaitsAsLongAsItWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := For(t.Context(), time.Minute); err != nil || time.Since(start) != time.Minute {
			t.Errorf("waited %s, %v", time.Since(start), err)
		}
	})
}

func TestForEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := For(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("waited %s, %v", time.Since(start), err)
		}
		if For(ctx, 0) == nil {
			t.Error("no wait hides that the context has ended")
		}
	})
}

func TestBackoffDoublesUpToItsBound(t *testing.T) {
	b := Backoff{First: 20 * time.Millisecond, Most: time.Second}
	for n, want := range []int64{20, 40, 80, 160, 320, 640, 1000, 1000} {
		if got := b.After(n); got.Milliseconds() != want {
			t.Errorf("after attempt %d: %s", n, got)
		}
	}
	if got := b.After(1 << 40); got != time.Second {
		t.Errorf("after very many: %s", got)
	}
	if got := b.After(-1); got != b.First {
		t.Errorf("after none: %s", got)
	}
}
