package main

import (
	"strings"
	"testing"
	"time"
)

func TestReadAddsUpStacks(t *testing.T) {
	root, err := read(strings.NewReader(`File: x
Type: cpu
-----------+-------------------------------------------------------
      30ms   inner.f
             outer.g (inline)
             main.main
-----------+-------------------------------------------------------
      10ms   outer.g
             main.main
-----------+-------------------------------------------------------
`))
	if err != nil {
		t.Fatal(err)
	}
	g := root.children["main.main"].children["outer.g"]
	if root.total != 40*time.Millisecond || g.total != 40*time.Millisecond || g.children["inner.f"].total != 30*time.Millisecond || root.depth() != 4 {
		t.Errorf("%+v %+v", root, g)
	}
}
