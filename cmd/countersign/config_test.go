package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// loadFrom is load with a command line, an environment and a file.
func loadFrom(t *testing.T, args []string, env map[string]string, file string) (*config, error) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	if file != "" {
		path := filepath.Join(t.TempDir(), "countersign.yaml")
		must(t, os.WriteFile(path, []byte(file), 0o600))
		args = append(args, "--config", path)
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	bind(flags)
	recordTexts(flags)
	must(t, flags.Parse(args))
	return load(flags)
}

func TestFlagsWinOverEnvironmentOverFile(t *testing.T) {
	c, err := loadFrom(t,
		[]string{"--max-pairs", "3"},
		map[string]string{"COUNTERSIGN_MAX_PAIRS": "2", "COUNTERSIGN_MAX_UPLOADS": "20", "COUNTERSIGN_CPU": "generic", "COUNTERSIGN_MAX_BODY": "3MiB"},
		"max-pairs: 1\nmax-uploads: 10\nstall-timeout: 7s\nverify-memory: 1GiB\ncert-host: [a.example=127.0.0.1:1, b.example=127.0.0.1:2]\n")
	must(t, err)
	if c.MaxPairs != 3 || c.MaxUploads != 20 || c.MaxBody != 3<<20 || c.StallTimeout != 7*time.Second || c.VerifyMemory != 1<<30 {
		t.Errorf("%+v", c)
	}
	if want := []string{"a.example=127.0.0.1:1", "b.example=127.0.0.1:2"}; !slices.Equal(c.CertHost, want) {
		t.Errorf("cert-host %q, want %q", c.CertHost, want)
	}
	if !c.has(roleIngest) || !c.has(roleVerify) || !c.has(roleSink) || c.Listen != ":8080" || c.MaxBacklog != 20_000 {
		t.Errorf("defaults are missing: %+v", c)
	}
}

func TestHostsOfTheAdminListenerAreNames(t *testing.T) {
	c, err := loadFrom(t, []string{"--admin-host", "prometheus.internal", "--admin-host", "2001:db8::1"}, nil, "")
	must(t, err)
	if len(c.AdminHost) != 2 || c.Pprof {
		t.Errorf("admin-host %q, pprof %t", c.AdminHost, c.Pprof)
	}
	for _, host := range []string{"name:9090", "http://name", "*", "[::1]"} {
		if _, err := loadFrom(t, []string{"--admin-host", host}, nil, ""); err == nil || !strings.Contains(err.Error(), "--admin-host") {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestListsComeFromEverywhere(t *testing.T) {
	t.Run("environment", func(t *testing.T) {
		c, err := loadFrom(t, nil, map[string]string{"COUNTERSIGN_CERT_HOST": "a.example=127.0.0.1:1,b.example=127.0.0.1:2"}, "")
		must(t, err)
		if len(c.CertHost) != 2 {
			t.Errorf("cert-host %q", c.CertHost)
		}
	})
	t.Run("flags", func(t *testing.T) {
		c, err := loadFrom(t, []string{"--cert-host", "a.example=127.0.0.1:1", "--cert-host", "b.example=127.0.0.1:2", "--kafka", "x:1,y:2"}, nil, "")
		must(t, err)
		if len(c.CertHost) != 2 || len(c.Kafka) != 2 {
			t.Errorf("cert-host %q, kafka %q", c.CertHost, c.Kafka)
		}
	})
}

func TestAllProblemsAreReportedTogether(t *testing.T) {
	_, err := loadFrom(t,
		[]string{"--role", "cook", "--listen", "nowhere", "--shards", "0", "--tls-cert", "x", "--cert-host", "a", "--kafka-sasl", "NTLM", "--log-level", "loud",
			"--deny-address", "1.2.3.4,nowhere.example", "--cert-grace", "-1s", "--kafka-retention", "1h", "--public-url", "example.org"},
		nil, "max-pears: 5\n")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"--role cook", `--listen "nowhere"`, "--shards", "--tls-cert", `"a"`, "NTLM", "--log-level", "max-pears", "needs --kafka", "needs --clickhouse",
		`--deny-address: "nowhere.example"`, "--cert-grace", "--kafka-retention 1h", `--public-url "example.org"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the report lacks %s:\n%v", want, err)
		}
	}
}
