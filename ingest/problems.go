package ingest

// What goes wrong between a body and its acceptance, as the problem to answer with.

import (
	"errors"

	"countersign/ingest/jsonstream"
	"countersign/ingest/problem"
)

// problemOf returns the reply for any error of this package. sync says which call's limits are meant.
func problemOf(err error, sync bool) *problem.Problem {
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return p
	}
	if syntax, ok := errors.AsType[*jsonstream.SyntaxError](err); ok {
		return problem.MalformedBody(syntax, syntax.Element, syntax.Offset)
	}
	if limit, ok := errors.AsType[*jsonstream.LimitError](err); ok {
		if limit.Limit == jsonstream.LimitPairs {
			return problem.TooManyPairs(limit.Max, sync, limit.Element, limit.Offset)
		}
		return problem.ElementTooLong(limit, limit.Max, limit.Element, limit.Offset)
	}
	return problem.Internal(err)
}
