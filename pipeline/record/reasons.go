package record

// Why a pair failed is often the same text as for the pair before. A list of failed pairs has it once: a reason that is
// left out is that of the pair before. Otherwise a body of very short texts would be many times its size on the log.

import "countersign/pipeline/record/recordpb"

// Reasons shortens the reasons of a list of [recordpb.Unparsed] or of [recordpb.Failure], one after the other. The
// decoders undo it. The zero value is for a new list.
type Reasons struct{ last string }

// Shorten returns what the list has to hold for the next reason: nothing if it is the reason before.
func (r *Reasons) Shorten(reason string) string {
	if reason == r.last {
		return ""
	}
	r.last = reason
	return reason
}

// fillReasons undoes what Reasons did to a list. reason is where an item has its reason.
func fillReasons[T any](list []T, reason func(T) *string) {
	last := ""
	for _, item := range list {
		r := reason(item)
		if *r == "" {
			*r = last
		}
		last = *r
	}
}

func reasonOfUnparsed(u *recordpb.Unparsed) *string { return &u.Reason }

func reasonOfFailure(f *recordpb.Failure) *string { return &f.Reason }
