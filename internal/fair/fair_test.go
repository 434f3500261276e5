package fair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func take[K comparable, T any](t *testing.T, q *Queue[K, T]) (T, func()) {
	t.Helper()
	work, done, err := q.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return work, done
}

func TestNewcomersAreNextWhateverWaits(t *testing.T) {
	q := New[string, string](0, 0)
	for i := range 1000 {
		q.Put(fmt.Sprint("flood ", i), 10, "attacker")
	}
	for range 5 { // the flood is under way
		_, done := take(t, q)
		done()
	}
	q.Put("honest", 1, "honest")
	for n := 1; ; n++ {
		work, done := take(t, q)
		done()
		if work == "honest" {
			if n > 2 {
				t.Errorf("it came after %d pieces of the flood", n-1)
			}
			return
		}
	}
}

// Anybody may name any account. Somebody who puts very much for one, in his own name, holds up nobody else who puts
// work for the same: neither when all of it is for the one, nor when his own account is far ahead because of others.
func TestAFloodInTheNameOfAnAccountDoesNotHoldItUp(t *testing.T) {
	for name, c := range map[string]struct {
		accounts func(i int) []string
		most     int // pieces of the flood that one of the honest client waits for
	}{
		"of the site alone":   {func(int) []string { return []string{"site", "attacker"} }, 1},
		"of many sites":       {func(i int) []string { return []string{[]string{"site", fmt.Sprint("site ", i)}[i%2], "attacker"} }, 1},
		"from many addresses": {func(i int) []string { return []string{"site", fmt.Sprint("attacker ", i%20)} }, 20},
		"of nobody known":     {func(int) []string { return []string{"site"} }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			q := New[string, string](0, 0)
			for i := range 10_000 {
				q.Put("flood", 20, c.accounts(i)...)
			}
			for range 300 { // the flood is under way
				_, done := take(t, q)
				done()
			}
			for i := range 100 {
				q.Put("honest", 5, "site", "honest")
				work, done := take(t, q)
				waited := 0
				for ; work != "honest"; work, done = take(t, q) {
					done()
					waited++
				}
				done()
				if waited > c.most {
					t.Fatalf("piece %d waited for %d of the flood", i, waited)
				}
			}
		})
	}
}

// Lines of one account have turns, and together they have one share beside another account.
func TestLinesOfAnAccountShareItsShare(t *testing.T) {
	q := New[string, string](0, 0)
	for range 1000 {
		for _, client := range []string{"a", "b", "c"} {
			q.Put("popular "+client, 10, "popular", client)
		}
		q.Put("popular", 10, "popular")
		q.Put("other", 10, "other", "d")
	}
	taken := map[string]int{}
	for range 800 {
		work, done := take(t, q)
		done()
		taken[work]++
	}
	for work, n := range taken {
		want := 100
		if work == "other" {
			want = 400
		}
		if n < want-2 || n > want+2 {
			t.Errorf("%s: %d pieces of 800, want %d", work, n, want)
		}
	}
}

// Who asks for less than an equal share, with pauses, has it at once, whatever many others ask for all the time; and they
// get all the rest.
func TestCreditIsForThoseWhoPause(t *testing.T) {
	q := New[string, string](0, 100)
	for i := range 20 {
		for range 1000 {
			q.Put("flood", 10, fmt.Sprint("flood ", i))
		}
	}
	for range 1000 { // the flood uses up the credit that it came with
		_, done := take(t, q)
		done()
	}
	for round := range 50 {
		for range 100 { // 1,000 of cost, of which an equal share is 48
			work, done := take(t, q)
			if work != "flood" {
				t.Fatalf("round %d: took %q, of which nothing should be left", round, work)
			}
			done()
		}
		for range 4 {
			q.Put("honest", 10, "honest")
		}
		for n := range 4 {
			if work, done := take(t, q); work != "honest" {
				t.Fatalf("round %d: piece %d waits for the flood", round, n)
			} else {
				done()
			}
		}
	}
}

// A pause earns the credit and no more: after it the shares are equal, and so they are for accounts without a pause.
func TestCreditIsBounded(t *testing.T) {
	q := New[string, string](0, 100)
	for range 1000 {
		q.Put("old", 10, "old")
	}
	for range 500 {
		_, done := take(t, q)
		done()
	}
	for range 1000 {
		q.Put("new", 10, "new")
	}
	taken := map[string]int{}
	for range 210 {
		work, done := take(t, q)
		done()
		taken[work]++
	}
	if ahead := taken["new"] - taken["old"]; ahead < 5 || ahead > 11 {
		t.Errorf("the newcomer had %d pieces more than the other, with a credit of 10 pieces", ahead)
	}
}

func TestSharesAreEqualInCost(t *testing.T) {
	q := New[string, string](0, 0)
	for range 100 {
		q.Put("dear", 50, "dear")
		for range 10 {
			q.Put("cheap", 5, "cheap")
		}
	}
	spent := map[string]int{}
	for range 550 { // half of all cost
		work, done := take(t, q)
		done()
		spent[work] += map[string]int{"dear": 50, "cheap": 5}[work]
		if d := spent["dear"] - spent["cheap"]; d > 55 || d < -55 {
			t.Fatalf("dear work got %d, cheap work %d", spent["dear"], spent["cheap"])
		}
		if spent["dear"]+spent["cheap"] > 5000 {
			return
		}
	}
}

func TestOneAloneKeepsItsOrderAndGetsEverything(t *testing.T) {
	q := New[int, int](0, 0)
	for i := range 500 {
		q.Put(i, int64(1+i%7), 1)
	}
	for i := range 500 {
		work, done := take(t, q)
		done()
		if work != i {
			t.Fatalf("piece %d came as number %d", work, i)
		}
	}
	if q.Len() != 0 {
		t.Errorf("%d are left", q.Len())
	}
}

func TestNoAccountRunsMoreThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[string, int](2, 0)
		for i := range 40 {
			q.Put(i, 1, "slow")
		}
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		running, most, others, done := 0, 0, 0, 0
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				for {
					i, end, err := q.Take(ctx)
					if err != nil {
						return
					}
					mu.Lock()
					if i < 100 {
						running++
						most = max(most, running)
					} else {
						others++
					}
					mu.Unlock()
					if i < 100 {
						time.Sleep(time.Second)
						mu.Lock()
						running--
						done++
						mu.Unlock()
					}
					end()
				}
			})
		}
		synctest.Wait() // two are running, all others wait
		q.Put(100, 1, "quick")
		synctest.Wait()
		mu.Lock()
		if most != 2 || others != 1 {
			t.Errorf("%d of the slow account ran at once; %d of the quick one were done beside it", most, others)
		}
		mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		if done != 40 || q.Len() != 0 {
			t.Errorf("%d of 40 done, %d wait", done, q.Len())
		}
		mu.Unlock()
		cancel()
		workers.Wait()
	})
}

// A piece that waits for one of its accounts doesn't hold up the other pieces of its other accounts.
func TestAPieceOfTwoAccountsBlocksOne(t *testing.T) {
	q := New[string, string](1, 0)
	q.Put("the site's first", 1, "site")
	q.Put("the flooder's first", 1, "flooder")
	_, doneSite := take(t, q)
	_, doneFlooder := take(t, q)
	q.Put("both's", 1, "site", "flooder")
	q.Put("the site's second", 1, "site")
	if l := q.next(); l != nil { // sets both aside
		t.Fatalf("%q runs beside the first pieces", l.pieces[0].work)
	}
	doneSite()
	work, done := take(t, q)
	if work != "the site's second" {
		t.Fatalf("%q came, want the site's second piece while the flooder's first one runs", work)
	}
	done()
	doneFlooder()
	if work, _ := take(t, q); work != "both's" {
		t.Errorf("%q came last", work)
	}
}

func TestTakeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := New[int, int](0, 0).Take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// Everything that is put is taken once, with any accounts, limits and orders.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := New[int, int](rapid.IntRange(0, 3).Draw(t, "most"), 0)
		left := map[int]bool{}
		var running []func()
		takeOne := func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			want := q.first()
			l := q.next()
			if l == nil {
				if len(running) == 0 && len(left) > 0 {
					t.Fatalf("%d pieces wait, none runs, and none may be taken", len(left))
				}
				for name, a := range q.accounts {
					if len(a.aside) > 0 && a.running < q.mostRunning {
						t.Fatalf("lines are set aside for account %d, which has %d running", name, a.running)
					}
				}
				return
			}
			if q.mostRunning == 0 && l != want {
				t.Fatalf("the line of accounts %v came before that of %v", l.names, want.names)
			}
			accounts, p := l.accounts, q.charge(l)
			if !left[p.work] {
				t.Fatalf("piece %d was not there", p.work)
			}
			delete(left, p.work)
			running = append(running, func() { q.finish(accounts, p.cost) })
		}
		for i := range rapid.IntRange(0, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				accounts := rapid.SliceOfNDistinct(rapid.IntRange(0, 4), 1, MaxAccounts, rapid.ID[int]).Draw(t, "accounts")
				slices.Sort(accounts)
				q.Put(i, rapid.Int64Range(0, 9).Draw(t, "cost"), accounts...)
				left[i] = true
			case 1:
				takeOne()
			case 2:
				if len(running) > 0 {
					running[0]()
					running = running[1:]
				}
			}
		}
		for len(left) > 0 || len(running) > 0 {
			takeOne()
			if len(running) > 0 {
				running[0]()
				running = running[1:]
			}
		}
		if q.Len() != 0 || len(q.lines) != 0 || len(q.ready) != 0 || len(q.accounts) != 0 || q.active != 0 {
			t.Fatalf("left: %d waiting, %d lines, %d accounts, %d ready, %d active",
				q.Len(), len(q.lines), len(q.accounts), len(q.ready), q.active)
		}
	})
}

// first is the line whose turn it is, found the slow way: the one whose accounts had least, of each line the account
// that had most.
func (q *Queue[K, T]) first() (first *line[K, T]) {
	had := func(l *line[K, T]) (most, other float64) {
		home := l.home()
		return home.end, l.otherThan(home)
	}
	for _, l := range q.lines {
		if first == nil {
			first = l
			continue
		}
		most, other := had(l)
		mostOfFirst, otherOfFirst := had(first)
		if c := cmp.Or(cmp.Compare(most, mostOfFirst), cmp.Compare(other, otherOfFirst),
			cmp.Compare(l.pieces[0].number, first.pieces[0].number)); c < 0 {
			first = l
		}
	}
	return first
}

func TestEverNewAccountsDoNotHoldUpAnOldOne(t *testing.T) {
	q := New[int, int](0, 0)
	for range 10 {
		q.Put(0, 10, 0)
	}
	left := 10
	for i := 1; left > 0; i++ {
		q.Put(i, 10, i) // one new account for each piece that is done
		work, done := take(t, q)
		done()
		if work == 0 {
			left--
		}
		if i > 700 {
			t.Fatalf("%d of 10 pieces were not done after %d of others", left, i)
		}
	}
}

func TestEndsInThePastAreForgotten(t *testing.T) {
	q := New[int, int](0, 0)
	for i := range 100_000 {
		q.Put(i, 1, i)
		q.Put(i, 1, i+1) // somebody always waits
		for range min(2, q.Len()-1) {
			_, done := take(t, q)
			done()
		}
	}
	if len(q.accounts) > 1000 {
		t.Errorf("%d accounts are remembered that have nothing waiting", len(q.accounts))
	}
}
