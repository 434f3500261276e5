package certs

// Get and Refetch are the questions that pipeline/verify asks today. They are Find and Look without a client, and go when verify asks
// those.

import (
	"context"
	"errors"
	"slices"
)

// Entry is what is known of a site. It is immutable.
type Entry struct {
	Chains []Chain
	Keys   []Key // of Chains, in their order
}

func entryOf(known Known) *Entry { return &Entry{Chains: known.Chains(), Keys: known.Keys()} }

// Get is [Sites.Find] without a client.
func (s *Sites) Get(ctx context.Context, site string) (*Entry, error) {
	known, err := s.Find(ctx, site, "")
	if err != nil {
		return nil, err
	}
	return entryOf(known), nil
}

// Refetch is for signatures that fail under seen, which Get or Refetch gave. It gives what is known after a look that began after the
// call: seen itself where that is of the same leaves, and where the site gives no answer. The error wraps ctx's error or [ErrClosed]. If
// seen is nil, Refetch is Get.
func (s *Sites) Refetch(ctx context.Context, site string, seen *Entry) (*Entry, error) {
	if seen == nil {
		return s.Get(ctx, site)
	}
	known, err := s.Look(ctx, site, "", s.config.Clock())
	if _, unavailable := errors.AsType[*Unavailable](err); unavailable {
		return seen, nil
	}
	if err != nil {
		return nil, err
	}
	if newer := entryOf(known); !newer.sameLeaves(seen) {
		return newer, nil
	}
	return seen, nil
}

// sameLeaves reports whether both are of the same leaves, in any order.
func (e *Entry) sameLeaves(other *Entry) bool {
	has := func(key Key) bool {
		return slices.ContainsFunc(other.Keys, func(k Key) bool { return k.Fingerprint == key.Fingerprint })
	}
	return len(e.Keys) == len(other.Keys) && !slices.ContainsFunc(e.Keys, func(k Key) bool { return !has(k) })
}
