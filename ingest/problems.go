package ingest

// What goes wrong between a body and its acceptance, as the problem to answer with.

import (
	"errors"

	"countersign/ingest/jsonstream"
	"countersign/ingest/problem"
)

// problemOf returns the reply for any error of this package. sync says which call's limits are meant.
func problemOf(err error, sync bool) *problem.Problem {
	var p *problem.Problem
	if errors.As(err, &p) {
		return p
	}
	var syntax *jsonstream.SyntaxError
	if errors.As(err, &syntax) {
		return problem.MalformedBody(syntax, syntax.Element, syntax.Offset)
	}
	var limit *jsonstream.LimitError
	if errors.As(err, &limit) {
		if limit.Limit == jsonstream.LimitPairs {
			return problem.TooManyPairs(limit.Max, sync, limit.Element, limit.Offset)
		}
		return problem.ElementTooLong(limit, limit.Max, limit.Element, limit.Offset)
	}
	return problem.Internal(err)
}
