package results

// How far an upload is. Batches count as done up to the first one that isn't: callers may then ask for the details of
// any number up to that one (docs/contract.md, "done batches").

import "countersign/sink/store"

// Counts are numbers of pairs, by what became of them.
type Counts struct {
	Added, Duplicates, BadSignatures, Errors uint64
}

func (c *Counts) add(more Counts) {
	c.Added += more.Added
	c.Duplicates += more.Duplicates
	c.BadSignatures += more.BadSignatures
	c.Errors += more.Errors
}

// Status is how far an upload is. Batches 1 to Done are done, the Waiting ones after them are not, or are not known to
// be. The counts are over the batches that are done.
type Status struct {
	Waiting, Done int
	Counts
}

// Pairs is how many pairs the batches have that are done.
func (s *Status) Pairs() uint64 { return s.Added + s.Duplicates + s.BadSignatures + s.Errors }

// Complete reports whether every batch is done.
func (s *Status) Complete() bool { return s.Waiting == 0 }

// addBatch counts the next batch as done.
func (s *Status) addBatch(c Counts) {
	s.Waiting--
	s.Done++
	s.add(c)
}

// Outcome is what became of a whole upload.
type Outcome struct {
	Counts
	// Reason is that of the first error. It may be missing although there are errors: then the details of the upload
	// have it.
	Reason string
}

// statusOf sums up what the store says of an upload of so many batches. The store leaves out batches without any
// result.
func statusOf(progress []store.BatchProgress, batches int) Status {
	s := Status{Waiting: batches}
	for _, b := range progress {
		if !b.Done || int(b.Batch) != s.Done+1 || s.Complete() {
			break
		}
		s.addBatch(Counts{b.Added, b.Duplicates, b.BadSignatures, b.Errors})
	}
	return s
}
