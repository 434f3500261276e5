package admission

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// reasonOf is why a request was refused; 0: it wasn't.
func reasonOf(t testing.TB, err error) Reason {
	t.Helper()
	var refusal *Refusal
	if err != nil && !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	if refusal == nil {
		return 0
	}
	return refusal.Reason
}

func site(n int) string { return fmt.Sprintf("s%d.example", n) }

func TestBulkUploaderAloneMeetsOnlyTheLimit(t *testing.T) {
	l := newAdmission(t, Config{MaxBacklog: 1000}).Ledger
	for i := range 999 {
		who := Who{client(1), site(i % 7)}
		if err := l.Admit(who, int64(i+1)); err != nil {
			t.Fatalf("at %d: %v", i+1, err)
		}
		l.Add(who, 1)
	}
	if r := reasonOf(t, l.Admit(Who{client(1), site(1)}, 1001)); r != Backlog {
		t.Errorf("above the limit: %v", r)
	}
}

// One client sends for sites that never answer. Whoever has less undecided may go on.
func TestLargeAccountIsRefusedAndSmallOnesAreNot(t *testing.T) {
	l := newAdmission(t, Config{MaxBacklog: 1000}).Ledger
	attacker, honest := Who{client(1), site(1)}, Who{client(2), site(2)}
	for range 600 {
		l.Add(attacker, 1)
	}
	l.Add(honest, 22)
	for _, c := range []struct {
		backlog          int64
		attacker, honest Reason
	}{
		{500, 0, 0},
		{501, OverShare, 0},
		{1000, OverShare, 0},
		{1001, Backlog, 0},
		{1250, Backlog, 0},
		{1251, Backlog, Backlog},
	} {
		gotA, gotH := reasonOf(t, l.Admit(attacker, c.backlog)), reasonOf(t, l.Admit(honest, c.backlog))
		if gotA != c.attacker || gotH != c.honest {
			t.Errorf("backlog %d: the attacker gets %d, the honest client %d; want %d, %d", c.backlog, gotA, gotH, c.attacker, c.honest)
		}
	}
}

// A domain that keeps uploads undecided closes for those who send much for it, and not for its owner.
func TestStrangersDoNotCloseADomainForItsOwner(t *testing.T) {
	l := newAdmission(t, Config{MaxBacklog: 1000}).Ledger
	for i := range 300 {
		l.Add(Who{client(100 + i), site(1)}, 3)
	}
	l.Add(Who{client(1), site(2)}, 30)
	if r := reasonOf(t, l.Admit(Who{client(2), site(1)}, 900)); r != 0 {
		t.Errorf("the owner, with nothing undecided, gets %v", r)
	}
	if r := reasonOf(t, l.Admit(Who{client(100), site(1)}, 900)); r != OverShare {
		t.Errorf("a stranger gets %v", r)
	}
	if r := reasonOf(t, l.Admit(Who{client(100), site(3)}, 900)); r != 0 {
		t.Errorf("a stranger that sends for another site gets %v", r)
	}
}

// A thousand sites with a pair each don't make the share of others smaller.
func TestManySmallAccountsDoNotShrinkShares(t *testing.T) {
	l := newAdmission(t, Config{MaxBacklog: 20_000}).Ledger
	for i := range 1000 {
		l.Add(Who{client(1000 + i), site(i)}, 1)
	}
	l.Add(Who{client(1), site(1000)}, 9500) // above the level of 9,000
	l.Add(Who{client(2), site(1001)}, 1000)
	if r := reasonOf(t, l.Admit(Who{client(2), site(1001)}, 15_000)); r != 0 {
		t.Errorf("a client with 1,000 records gets %v", r)
	}
	if r := reasonOf(t, l.Admit(Who{client(1), site(1000)}, 15_000)); r != OverShare {
		t.Errorf("a client with 9,500 records gets %v", r)
	}
}

func TestUndecidedUploadsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newAdmission(t, Config{}).Ledger
		old := l.Add(Who{client(1), site(1)}, 5)
		time.Sleep(time.Minute)
		l.Add(Who{client(1), site(1)}, 7)
		time.Sleep(61 * time.Second)
		if total, largest := l.count(); total != 7 || largest != 7 {
			t.Errorf("%d records, %d of one client", total, largest)
		}
		old.Done()
		old.Done()
		(*Undecided)(nil).Done()
		if total, _ := l.count(); total != 7 {
			t.Errorf("%d records", total)
		}
	})
}

// TestWaterLevel: the level is what its comment says, by trying all numbers.
func TestWaterLevel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		accounts := rapid.SliceOfN(rapid.Int64Range(1, 30), 0, 12).Draw(t, "accounts")
		capacity := rapid.Int64Range(1, 100).Draw(t, "capacity")
		got := level(capacity, 0, len(accounts), func(yield func(int64) bool) {
			for _, a := range accounts {
				if !yield(a) {
					return
				}
			}
		})
		var want int64
		for l := range capacity + 1 {
			sum := int64(0)
			for _, a := range accounts {
				sum += min(a, l)
			}
			if sum <= capacity {
				want = l
			}
		}
		if got != want {
			t.Fatalf("level %d, want %d", got, want)
		}
	})
}

// TestLedgerBalances: whatever is added, done twice, or forgotten, sums fit, nothing is negative, and nothing is left.
func TestLedgerBalances(t *testing.T) {
	type move struct{ kind, number, records int }
	moves := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) move {
		return move{rapid.IntRange(0, 4).Draw(t, "kind"), rapid.IntRange(0, 9).Draw(t, "number"), rapid.IntRange(0, 50).Draw(t, "records")}
	}), 0, 100)
	rapid.Check(t, func(rt *rapid.T) {
		script := moves.Draw(rt, "moves")
		var failed error
		synctest.Test(t, func(t *testing.T) {
			l := newAdmission(t, Config{MaxBacklog: 100}).Ledger
			var all []*Undecided
			for _, m := range script {
				switch m.kind {
				case 0, 1:
					all = append(all, l.Add(Who{client(m.number), site(m.number / 3)}, int64(m.records)))
				case 2:
					if len(all) > 0 {
						all[m.number%len(all)].Done()
					}
				case 3:
					_ = l.Admit(Who{client(m.number), site(m.number / 3)}, int64(3*m.records))
				case 4:
					time.Sleep(time.Duration(m.records) * time.Second)
				}
				if err := balances(l, all); err != nil {
					failed = err
					return
				}
			}
			for _, u := range all {
				u.Done()
			}
			if l.total != 0 || len(l.clients)+len(l.domains) != 0 || l.oldest != nil || l.newest != nil {
				failed = fmt.Errorf("left: %d records, %d clients, %d domains", l.total, len(l.clients), len(l.domains))
			}
		})
		if failed != nil {
			rt.Fatal(failed)
		}
	})
}

func balances(l *Ledger, all []*Undecided) error {
	var total, clients, domains, perDomain int64
	for _, u := range all {
		if !u.done {
			total += u.records
		}
	}
	for _, n := range l.clients {
		if n <= 0 {
			return fmt.Errorf("a client has %d records", n)
		}
		clients += n
	}
	for _, d := range l.domains {
		domains += d.total
		for _, n := range d.clients {
			if n <= 0 {
				return fmt.Errorf("a client has %d records of a domain", n)
			}
			perDomain += n
		}
	}
	if l.total != total || clients != total || domains != total || perDomain != total {
		return fmt.Errorf("%d records are undecided; the ledger has %d, %d by client, %d and %d by domain", total, l.total, clients, domains, perDomain)
	}
	return nil
}
