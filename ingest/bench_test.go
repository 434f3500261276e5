package ingest

import (
	"context"
	"fmt"
	"testing"
)

// instantLog acknowledges at once and keeps nothing.
type instantLog struct{ voidLog }

type instantAck struct{}

func (instantAck) Wait(context.Context) (int64, error) { return 0, nil }

func (l *instantLog) Send(context.Context, int, []byte) (Ack, error) { return instantAck{}, nil }

// BenchmarkUpload is the bulk call without log and store: what HTTP, decoding and records cost, the client's sending
// included.
func BenchmarkUpload(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := start(b, func(c *Config) { c.Log = &instantLog{} })
			text := pairs(0, n, 256)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				h.upload(site, text)
			}
		})
	}
}
