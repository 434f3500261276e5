package testseed

import "testing"

func TestTheSameSeedDrawsTheSame(t *testing.T) {
	t.Setenv(Env, "18446744073709551615")
	a, b := Rand(t), Rand(t)
	for range 10 {
		if x, y := a.Uint64(), b.Uint64(); x != y {
			t.Fatalf("%d and %d", x, y)
		}
	}
}

func TestSeedsDiffer(t *testing.T) {
	t.Setenv(Env, "")
	if a, b := Rand(t).Uint64(), Rand(t).Uint64(); a == b {
		t.Errorf("%d twice", a)
	}
}
