package ingest

// What the operator hears of each upload: one line at its end, with who sent it and what its pairs came to. The process
// that accepted the upload writes it, once the last of its results is stored. A process that ends before has no line of
// it; view v_uploads has all of them.

import (
	"context"
	"log/slog"
	"time"

	"countersign/ingest/problem"
	"countersign/ingest/results"
)

// logUpload writes the line of an upload that is done. Single signings, of which there may be thousands a second, are
// at level debug.
func (s *Server) logUpload(level slog.Level, up acceptedUpload, by signer, receivedIn time.Duration, c results.Counts) {
	if up.repeated || !s.cfg.Logger.Enabled(context.Background(), level) {
		return
	}
	s.cfg.Logger.Log(context.Background(), level, "upload finished",
		"upload", up.id, "site", by.site, "client", by.who.Client.String(), "pairs", up.pairs,
		"added", c.Added, "duplicates", c.Duplicates, "bad_signatures", c.BadSignatures, "failed", c.Errors,
		"received_in", rounded(receivedIn), "finished_in", rounded(s.cfg.Clock().Sub(up.at)))
}

// logRefused writes the line of an upload whose body was begun, and of which nothing was kept.
func (s *Server) logRefused(by signer, bytes int64, receivedIn time.Duration, p *problem.Problem) {
	s.cfg.Logger.Info("upload refused",
		"site", by.site, "client", by.who.Client.String(), "bytes", bytes, "received_in", rounded(receivedIn),
		"status", p.Status, "problem", p.Kind, "error", p.Detail)
}

// rounded leaves out digits that say nothing.
func rounded(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
