package ingest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"countersign/ingest/internal/ingesttest"
)

// Whatever makes the server refuse every upload is a reason of its health, under a name that nothing else has, and the
// process's board gets it. The log has a test of its own (TestUploadsAreRefusedWhileTheLogIsNotReady). What refuses one
// client alone is no reason (TestClientWithMuchUndecidedIsRefused).
func TestWhatRefusesEveryUploadIsAReason(t *testing.T) {
	for _, c := range []struct {
		check, kind string
		begin, end  func(h *harness)
	}{
		{
			"backlog", "backlog",
			func(h *harness) { h.log.with(func(l *fakeLog) { l.backlog = h.cfg.MaxBacklog + 1 }) },
			func(h *harness) { h.log.with(func(l *fakeLog) { l.backlog = 0 }) },
		},
		{
			"unrecorded", "store-unavailable",
			func(h *harness) {
				h.store.With(func(s *ingesttest.Store) { s.Stuck = make(chan struct{}) })
				for range h.cfg.MaxUnrecorded {
					h.upload(site, "[]") // answered, although its row can't be stored
				}
			},
			func(h *harness) {
				h.store.With(func(s *ingesttest.Store) {
					close(s.Stuck)
					s.Stuck = nil
				})
			},
		},
	} {
		t.Run(c.check, func(t *testing.T) {
			h := start(t, func(c *Config) { c.RecordWait, c.MaxUnrecorded = 20*time.Millisecond, 2 })
			ingesttest.Until(t, "the server is ready", func() bool { return len(h.NotReady()) == 0 })
			c.begin(h)
			ingesttest.Until(t, "uploads are refused, and why is a reason", func() bool {
				return h.Do("POST", "/api/v1/asyncsign/"+site, "[]").Status == 503 && len(h.NotReady()) > 0
			})
			h.Problem(h.Do("POST", "/api/v1/asyncsign/"+site, "[]"), 503, c.kind)
			h.Problem(h.Do("POST", "/api/v1/sign/"+site, "[]"), 503, c.kind)
			h.Problem(h.sign(site, 1), 503, c.kind)
			if reasons := h.NotReady(); len(reasons) != 1 || !strings.HasPrefix(reasons[0], c.check+": ") {
				t.Errorf("reasons %q, want one of check %s", reasons, c.check)
			}
			var failing []string
			for _, check := range h.Checks() {
				if check.Probe(t.Context()) != nil {
					failing = append(failing, check.Name)
				}
			}
			if !slices.Equal(failing, []string{c.check}) {
				t.Errorf("checks %q fail, want %s", failing, c.check)
			}
			c.end(h)
			ingesttest.Until(t, "the server is ready again, and takes uploads", func() bool {
				return len(h.NotReady()) == 0 && h.Do("POST", "/api/v1/asyncsign/"+site, "[]").Status == 200
			})
		})
	}
}
