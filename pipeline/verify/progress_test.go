package verify

import "testing"

// An upload that takes long holds the offset, and the records behind it that are done are told.
func TestProgressTellsWhatIsDoneBehindAnOpenSeal(t *testing.T) {
	p := newProgress(10)
	want := func(offset, beyond int64) {
		t.Helper()
		if next, done := p.committable(); next != offset || done != beyond {
			t.Errorf("offset %d, and %d done beyond, want %d and %d", next, done, offset, beyond)
		}
	}
	want(10, 0)
	p.pass(10)
	p.open(11, 1) // hangs
	want(11, 0)
	p.pass(12)
	p.pass(13)
	p.open(14, 2)
	want(11, 0)
	p.finish(14)
	want(11, 2) // three are, less the chunk before the open seal, which is not behind the offset
	for offset := int64(15); offset < 1015; offset++ {
		p.open(offset, 0)
		p.finish(offset)
	}
	want(11, 1002)
	p.finish(11)
	want(1015, 0)
}
