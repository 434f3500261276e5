package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDurationsHaveTheirUnit(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		for _, colour := range []bool{false, true} {
			var out bytes.Buffer
			newLogger(&out, format, colour, slog.LevelInfo).With("after", time.Minute).Info("x", "in", 1500*time.Millisecond)
			text := out.String()
			if !strings.Contains(text, "1.5s") || !strings.Contains(text, "1m0s") {
				t.Errorf("%s: %s", format, text)
			}
			if coloured := strings.Contains(text, "\x1b["); coloured != (colour && format == "text") {
				t.Errorf("%s, colour %v: %q", format, colour, text)
			}
			if format == "json" && !json.Valid(out.Bytes()) {
				t.Error(text)
			}
		}
	}
}

// Terminals get colours, and pipes and files don't.
func TestWhoGetsColours(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminal can be made here: ", err)
	}
	defer master.Close()
	terminal := terminalOf(t, master)
	defer terminal.Close()
	r, pipe, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer pipe.Close()
	file, err := os.CreateTemp(t.TempDir(), "")
	must(t, err)
	defer file.Close()
	for _, c := range []struct {
		to   *os.File
		env  map[string]string
		want bool
	}{
		{terminal, nil, true},
		{terminal, map[string]string{"TERM": "xterm"}, true},
		{terminal, map[string]string{"TERM": "dumb"}, false},
		{terminal, map[string]string{"NO_COLOR": "1"}, false},
		{pipe, map[string]string{"TERM": "xterm"}, false},
		{file, nil, false},
	} {
		if got := wantsColour(c.to, func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%s, %v: %v", c.to.Name(), c.env, got)
		}
	}
}

// terminalOf opens the other side of a pseudo-terminal.
func terminalOf(t *testing.T, master *os.File) *os.File {
	t.Helper()
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	return terminal
}
