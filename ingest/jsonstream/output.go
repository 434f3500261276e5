package jsonstream

// Cutting pairs into runs and handing those to the sink.

// heldColumns is how many released Columns wait for reuse; more are left to the collector.
const heldColumns = 2

type output struct {
	cols  *Columns
	sink  func(*Columns) error
	freed chan *Columns // capacity heldColumns; filled by Release, never closed
}

func newOutput(sink func(*Columns) error) output {
	freed := make(chan *Columns, heldColumns)
	return output{cols: &Columns{free: freed}, sink: sink, freed: freed}
}

// cut ends the run if it is complete. It is called after each pair.
func (o *output) cut() error {
	if o.cols.Len() < BatchPairs-o.cols.First%BatchPairs && o.cols.size() <= maxColumns {
		return nil
	}
	return o.hand()
}

// end hands over what is left.
func (o *output) end() error {
	if o.cols.Len() == 0 {
		return nil
	}
	return o.hand()
}

func (o *output) hand() error {
	c := o.cols
	if c.Upper != nil {
		c.growUpper(c.Len())
	}
	next := c.First + c.Len()
	spare := columnsSize{len(c.Hashes), len(c.Lengths), len(c.Signatures)}
	if err := o.sink(c); err != nil {
		return err
	}
	select {
	case o.cols = <-o.freed:
	default:
		o.cols = newColumns(spare, o.freed)
	}
	o.cols.reset(next)
	return nil
}
