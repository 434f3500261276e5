package admission

// The header fields RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers): structured fields that tell
// a program what a person reads in the refusal.

import (
	"fmt"
	"time"
)

// PolicyField is the value of RateLimit-Policy: the name of the bound, how much one may have (q), of what (qu), and in
// which time in seconds (w).
func (r *Refusal) PolicyField() string {
	switch {
	case r.Undecided():
		return fmt.Sprintf("%q;q=%d;qu=%q", r.Of, r.Limit, "records")
	case r.Turns():
		return fmt.Sprintf("%q;q=%d;qu=%q;w=1", r.Of, r.Limit, "requests")
	}
	return fmt.Sprintf("%q;q=%d;qu=%q", r.Of, r.Limit, "concurrent-requests")
}

// LimitField is the value of RateLimit: nothing is left (r), for so many seconds (t).
func (r *Refusal) LimitField() string {
	return fmt.Sprintf("%q;r=0;t=%d", r.Of, (r.RetryAfter+time.Second-1)/time.Second)
}
