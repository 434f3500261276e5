package bench

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestKilledBenchLeavesNoService(t *testing.T) {
	bench := exec.Command(os.Args[0], t.TempDir())
	bench.Env = append(os.Environ(), fakeMode+"=bench")
	out, err := bench.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := bench.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	bench.Process.Kill()
	bench.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; {
		c, err := net.Dial("tcp", strings.TrimSpace(line))
		if err != nil {
			return
		}
		c.Close()
		if time.Since(start) > 10*time.Second {
			t.Fatal("the service outlives the bench that started it")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
