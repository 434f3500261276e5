package bench

// OpenSSL's own verification speed, which the figures of the service stand beside. `openssl speed` has no way to leave
// signing out, so each run takes twice its seconds.

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// opensslSpeed runs the program; its zero value finds it on the PATH.
type opensslSpeed struct {
	seconds int // of verifying
	cores   int
}

// errNoOpenSSL is why figures beside OpenSSL's are missing.
var errNoOpenSSL = errors.New("openssl is not on the PATH; install it (Debian: apt-get install openssl)")

// opensslVersion is the program's version, empty if there is none.
func opensslVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "openssl", "version").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// verifyRate is how many signatures a second all cores verify.
func (o opensslSpeed) verifyRate(ctx context.Context, a algorithm) (float64, error) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		return 0, errNoOpenSSL
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.seconds)*time.Second*6+30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "speed", "-mr", "-multi", strconv.Itoa(o.cores), "-seconds", strconv.Itoa(o.seconds), a.speed).Output()
	if err != nil {
		return 0, fmt.Errorf("openssl speed %s: %w", a.speed, err)
	}
	rates, err := parseSpeed(string(out))
	if err != nil {
		return 0, err
	}
	rate, ok := rates[a.speed]
	if !ok {
		return 0, fmt.Errorf("openssl speed %s printed no rate; this version's output is not understood", a.speed)
	}
	return rate, nil
}

// speedLine is a result in the machine-readable form: kind, index, bits, signatures and verifications a second. Later
// versions append more columns. Lines of single processes begin otherwise.
var speedLine = regexp.MustCompile(`^\+F(2|4):\d+:(\d+):([0-9.]+):([0-9.]+)`)

// parseSpeed reads verifications a second by the names that `openssl speed` takes.
func parseSpeed(out string) (map[string]float64, error) {
	rates := make(map[string]float64)
	for line := range strings.Lines(out) {
		m := speedLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		rate, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			return nil, fmt.Errorf("openssl speed: %q: %w", line, err)
		}
		name := "rsa" + m[2]
		if m[1] == "4" {
			name = "ecdsap" + m[2]
		}
		rates[name] = rate
	}
	return rates, nil
}
