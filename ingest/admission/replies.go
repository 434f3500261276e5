package admission

// A reply that names many pairs takes memory in proportion to what its caller has sent, from when it is put together
// until its client has received it. So replies have places by their size, and only so many of a size are in flight at
// once. Small ones need no place beside that of their call or connection: they are never held up by large ones. The
// places are shared by clients as all others are (gate.go). Nobody waits for a place with one in hand, and a holder
// that is not through after Config.CallGrace, because the store is slow or its client takes its time, gives way to a
// client with fewer.

import "context"

// ReplySize is a size of replies, and how many of them may be in flight.
type ReplySize struct {
	// Name is that of the places: a value of label gate and of the RateLimit fields.
	Name string
	// Bytes is the most memory that such a reply takes. The last size has no limit.
	Bytes int64
	// Places is how many are in flight at a time. 0: as many as there are calls.
	Places int
}

// usualReplies are the default of Config.Replies. A pair with a verdict takes 160 bytes and an error up to 5 KiB, so
// the sizes are of 400, 6,500 and 100,000 pairs with a verdict, and of what is larger: up to 100,000 errors. Replies
// that have places take at most 256 + 256 + 1,000 MiB together, and each other call and connection 64 KiB.
var usualReplies = []ReplySize{
	{Bytes: 64 << 10},
	{Name: "replies-1-mib", Bytes: 1 << 20, Places: 256},
	{Name: "replies-16-mib", Bytes: 16 << 20, Places: 16},
	{Name: "replies-500-mib", Places: 2},
}

// Replies has the places of replies. It is safe for concurrent use.
type Replies struct {
	sizes []ReplySize
	gates []*Gate // of sizes; nil: there are as many places as calls
}

func newReplies(cfg *Config, m *metrics) *Replies {
	r := &Replies{sizes: cfg.Replies}
	for _, size := range cfg.Replies {
		var g *Gate
		if size.Places > 0 {
			g = newGate(size.Name, size.Places, cfg, m)
			g.grace = cfg.CallGrace
		}
		r.gates = append(r.gates, g)
	}
	return r
}

// New makes a reply that takes nothing yet. Its Release must be called.
func (r *Replies) New(who Who) *Reply { return &Reply{replies: r, who: who} }

// Reply is the memory of one reply, held until Release. It belongs to one goroutine.
type Reply struct {
	replies *Replies
	who     Who
	size    int    // index into Replies.sizes
	place   *Place // nil: its size needs none
}

// Reserve says how much memory the reply takes at least, in bytes. When it outgrows its size, it gives its place back
// and waits for one of the size that it has now, for up to Config.MaxWait. The error is a *Refusal, or the cause of
// ctx's end.
func (r *Reply) Reserve(ctx context.Context, bytes int64) error {
	size := r.size
	for size < len(r.replies.sizes)-1 && bytes > r.replies.sizes[size].Bytes {
		size++
	}
	if size == r.size {
		return nil
	}
	r.Release() // first: who holds one place while he waits for another might wait for others who do the same
	r.size, r.place = size, nil
	if g := r.replies.gates[size]; g != nil {
		place, err := g.Enter(ctx, r.who)
		if err != nil {
			return err
		}
		place.Await()
		r.place = place
	}
	return nil
}

// Context is that of its place. The function must be called.
func (r *Reply) Context(parent context.Context) (context.Context, context.CancelFunc) {
	if r.place != nil {
		return r.place.Context(parent)
	}
	return context.WithCancel(parent)
}

// Release gives the place back. It may be called more than once.
func (r *Reply) Release() {
	if r.place != nil {
		r.place.Release()
	}
}

// places are the gates that there are.
func (r *Replies) places() (gates []*Gate) {
	for _, g := range r.gates {
		if g != nil {
			gates = append(gates, g)
		}
	}
	return gates
}

// Held is how many replies of a size are in flight.
func (r *Replies) Held(name string) int {
	for i, size := range r.sizes {
		if size.Name == name && r.gates[i] != nil {
			return r.gates[i].Held()
		}
	}
	return 0
}
