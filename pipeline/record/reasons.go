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

func fillUnparsed(list []*recordpb.Unparsed) {
	last := ""
	for _, u := range list {
		if u.Reason == "" {
			u.Reason = last
		}
		last = u.Reason
	}
}

func fillFailures(list []*recordpb.Failure) {
	last := ""
	for _, f := range list {
		if f.Reason == "" {
			f.Reason = last
		}
		last = f.Reason
	}
}
