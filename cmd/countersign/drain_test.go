package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDrainWaitsUntilNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, left := time.Now(), int64(4)
		err := drain(t.Context(), func(context.Context) (int64, error) { left--; return left, nil })
		if took := time.Since(start); err != nil || left != 0 || took != 3*drainPause {
			t.Errorf("%v with %d left after %s", err, left, took)
		}
	})
}

func TestDrainHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := drain(t.Context(), func(context.Context) (int64, error) { return 7, nil })
		if took := time.Since(start); err == nil || !strings.Contains(err.Error(), "7 records") || took != drainTimeout {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestDrainEndsWithTheErrorOfALook(t *testing.T) {
	gone := errors.New("the log is gone")
	if err := drain(t.Context(), func(context.Context) (int64, error) { return 7, gone }); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}
