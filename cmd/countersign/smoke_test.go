package main

import (
	"testing"
	"time"

	"countersign/client"
)

func TestSmoke(t *testing.T) {
	w := newWorld(t)
	ec := w.site("ec.example", p256)
	n := start(t, append(w.args(), "--data-dir", t.TempDir())...)
	at := time.Now()
	r, err := n.Upload(t.Context(), "ec.example", pairs("a", 0, 5000, ecdsaSigner(ec)), client.UploadOptions{})
	must(t, err)
	t.Log(r, time.Since(at))
	s, err := n.Wait(deadline(t, 10*time.Second), r.UUID, nil)
	t.Log(s, err, time.Since(at))
	t.Log(n.log())
	n.stop()
	t.Log(n.log())
}
