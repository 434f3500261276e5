package fair

// The heaps that find the line whose turn it is.

// lineHeap has the lines of one account: first the one whose other accounts had least, then the one that was put first.
type lineHeap[K comparable, T any] []*line[K, T]

func (h lineHeap[K, T]) Len() int           { return len(h) }
func (h lineHeap[K, T]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h lineHeap[K, T]) Less(i, j int) bool { return h[i].before(h[j]) }
func (h *lineHeap[K, T]) Push(l any)        { *h = append(*h, l.(*line[K, T])) }
func (h *lineHeap[K, T]) Pop() any          { return removeLast((*[]*line[K, T])(h)) }

func (l *line[K, T]) before(o *line[K, T]) bool {
	if l.other != o.other {
		return l.other < o.other
	}
	return l.pieces[0].number < o.pieces[0].number
}

// accountHeap has accounts by their ends. Where these are equal, their first lines decide.
type accountHeap[K comparable, T any] []*account[K, T]

func (h accountHeap[K, T]) Len() int { return len(h) }
func (h accountHeap[K, T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h accountHeap[K, T]) Less(i, j int) bool {
	if h[i].end != h[j].end {
		return h[i].end < h[j].end
	}
	return h[i].filed[0].before(h[j].filed[0])
}
func (h *accountHeap[K, T]) Push(x any) {
	a := x.(*account[K, T])
	a.index = len(*h)
	*h = append(*h, a)
}
func (h *accountHeap[K, T]) Pop() any {
	a := removeLast((*[]*account[K, T])(h))
	a.index = -1
	return a
}

func removeLast[E any](list *[]*E) *E {
	old := *list
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*list = old[:len(old)-1]
	return last
}
