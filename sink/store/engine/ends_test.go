package engine

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What ends a child from outside is named, with what to do.
func TestWhatAnEndMeans(t *testing.T) {
	killed := func(signal string) error { return exec.Command("/bin/sh", "-c", "kill -"+signal+" $$").Run() }
	for _, c := range []struct {
		err  error
		out  string
		want []string
	}{
		{killed("ILL"), "", []string{"processor", "--engine-binary", "--clickhouse"}},
		{errors.New("exit status 1"), "/usr/bin/clickhouse: signal: illegal instruction", []string{"processor", "--engine-binary"}},
		{nil, "Received signal Illegal instruction (4)", []string{"processor"}},
		{killed("KILL"), "", []string{"memory", "--engine-memory"}},
	} {
		contains(t, explainEnd(c.err, c.out), c.want...)
	}
	contains(t, errors.New(illegalInstruction(false)), "AVX2")
	other := killed("ABRT")
	if err := explainEnd(other, "anything"); err != other || explainEnd(nil, "") != nil { //nolint:errorlint // it is the same
		t.Errorf("%v became %v", other, err)
	}
}

// Where no machine code can be made, nobody can have ClickHouse make some.
func TestNoMachineCodeWhereItIsForbidden(t *testing.T) {
	dir := t.TempDir()
	for _, makes := range []bool{true, false} {
		if err := writeUsers(Config{Dir: dir, MemoryLimit: mostMemory}, newPasswords(), makes); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(usersFile(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, setting := range compilers {
			off, bound := "<"+setting+">0</"+setting+">", "<"+setting+"><const/></"+setting+">"
			if n := strings.Count(string(text), off); n != 3 && !makes || n != 0 && makes {
				t.Errorf("machine code %t: %s in %d of 3 profiles", makes, off, n)
			}
			if n := strings.Count(string(text), bound); n != 3 && !makes || n != 0 && makes {
				t.Errorf("machine code %t: %s in %d of 3 profiles", makes, bound, n)
			}
		}
	}
}
