package ingest

import "testing"

func TestSmoke(t *testing.T) {
	h := start(t, nil)
	id := h.upload("example.com", body(0, 2345, 256))
	s := h.done(id)
	t.Log(s)
	r := h.do("GET", "/api/v1/sign/example.com?hash="+hashText(99999)+"&sig="+signature(20), nil)
	t.Log(r)
	r = h.do("POST", "/api/v1/sign/example.com", body(100000, 3, 20))
	t.Log(r)
}
