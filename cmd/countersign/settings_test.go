package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A value that could mean something else than somebody wrote is refused, with the right spelling.
func TestValuesMeanWhatIsWritten(t *testing.T) {
	for line, want := range map[string]string{ // a line of the file
		"stall-timeout: 30":                 "write 30s for seconds",
		"kafka-retention: 604800":           "write 604800s for seconds",
		"cert-grace: 7d":                    "such as 30s, 10m or 168h",
		"stall-timeout: 1_000s":             "no duration",
		"upload-timeout: 1:30":              "no duration",
		"stall-timeout: 99999999h":          "no duration",
		"max-body: 512":                     "512MiB",
		"engine-memory: 1e9":                "512MiB",
		"max-body: 1_000MiB":                "512MiB",
		"log-max: -1GiB":                    "512MiB",
		"max-pairs: 1.5":                    "digits alone",
		"max-pairs: 1_000":                  "digits alone",
		"max-pairs: 0x10":                   "digits alone",
		"max-pairs: 010":                    "digits alone",
		"max-pairs: 1e3":                    "digits alone",
		"max-pairs: true":                   "digits alone",
		"max-pairs: many":                   "digits alone",
		"max-backlog: 99999999999999999999": "too large",
		"pprof: yes please":                 "true nor false",
		"pprof: 2":                          "true nor false",
		"kafka-password: 0123":              "a number without quotes",
		"kafka-password: 1_000":             "a number",
		"kafka-password: 1e3":               "a number",
		"kafka-password: 0x10":              "a number",
		"kafka-password: 1.10":              "a number",
		"kafka-password: true":              "true or false",
		"kafka-password: 2026-01-02":        "a date",
		"kafka-password: !!binary aGVsbG8=": "!!binary",
		"kafka-password:":                   "no value",
		"kafka-prefix: 0123":                `write "0123"`,
		"kafka-user: ~":                     "no value",
		"listen: 8080":                      "write host:port",
		"log-level: 1":                      "there are debug",
		"kafka-prefix: [a, b]":              "not a list",
		"admin-host: [10, name]":            `"10"`,
		"cert-host: [{a.example: b}]":       "single value",
		"kafka: {tls: true}":                "aren't nested",
		"max_pairs: 5":                      "max-pairs is",
		"maxPairs: 5":                       "max-pairs is",
		"--max-pairs: 5":                    "max-pairs is",
		"max-pears: 5":                      "max-pairs is",
		"tls_cert: a":                       "tls-cert is",
		"something-else: 5":                 "--help lists them",
		"max-pairs: 5\nmax-pairs: 6":        "a second time",
		"max-pairs: 5\n---\nmax-uploads: 6": "second document",
		"config: other.yaml":                "another one",
		"- max-pairs":                       "max-pairs: 5",
		"max-pairs: 5\n\tmax-uploads: 6":    "--config",
	} {
		_, err := loadFrom(t, nil, nil, line+"\n")
		name, _, _ := strings.Cut(line, ":")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), strings.TrimPrefix(name, "- ")) && !strings.Contains(err.Error(), "countersign.yaml") {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
		if password, ok := strings.CutPrefix(line, "kafka-password: "); ok && strings.Contains(strings.ReplaceAll(err.Error(), "true or false", ""), password) {
			t.Errorf("the message has the password: %v", err)
		}
	}
	for _, arg := range []string{"--max-pairs=1_000", "--max-pairs=010", "--stall-timeout=30", "--max-body=512", "--pprof=maybe"} {
		name, _, _ := strings.Cut(arg, "=")
		if _, err := loadFrom(t, []string{arg}, nil, ""); err == nil || !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s: %v", arg, err)
		}
	}
	for name, value := range map[string]string{
		"COUNTERSIGN_MAX_PAIRS": "1.5", "COUNTERSIGN_STALL_TIMEOUT": "30", "COUNTERSIGN_MAX_BODY": "512", "COUNTERSIGN_PPROF": "yes", "COUNTERSIGN_CPU": "generc",
		"COUNTERSIGN_SHARDS": "",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := loadFrom(t, nil, map[string]string{name: value}, ""); err == nil || !strings.Contains(err.Error(), name+": ") {
				t.Errorf("%q: %v", value, err)
			}
		})
	}
}

// What looks odd and can mean one thing alone is taken.
func TestValuesThatAreTaken(t *testing.T) {
	c, err := loadFrom(t, nil, nil, "\xef\xbb\xbf# a comment\n"+`
stall-timeout: "90s"
upload-timeout: 1h30m
cert-grace: 1.5h
max-body: 1234567B
log-max: 1.5GiB
verify-memory: 100 MiB
min-body-rate: 0
max-pairs: "7"
pprof: true
kafka: 127.0.0.1:9092, 127.0.0.1:9093
kafka-sasl: PLAIN
kafka-user: yes
kafka-password: "0123"
kafka-retention: 0
admin-host: &names [prometheus.internal]
tls-cert: &pem both.pem
tls-key: *pem
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.StallTimeout != 90*time.Second || c.UploadTimeout != 90*time.Minute || c.CertGrace != 90*time.Minute || c.MaxBody != 1234567 || c.LogMax != 3<<29 ||
		c.VerifyMemory != 100<<20 || c.MinBodyRate != 0 || c.MaxPairs != 7 || !c.Pprof || len(c.Kafka) != 2 || c.KafkaUser != "yes" || c.KafkaPassword != "0123" ||
		c.TLSKey != "both.pem" || len(c.AdminHost) != 1 {
		t.Errorf("%+v", c)
	}
	for _, file := range []string{"\n", "# nothing but a comment\n"} {
		if _, err := loadFrom(t, nil, nil, file); err != nil {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func TestUnknownVariablesOfOurPrefix(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		_, err := loadFrom(t, nil, map[string]string{"COUNTERSIGN_MAX_PEARS": "5", "COUNTERSIGN_MAX-PAIRS": "5", "COUNTERSIGN_NOTHING_LIKE_IT": "x"}, "")
		for _, want := range []string{"COUNTERSIGN_MAX_PEARS in the environment is no setting, but COUNTERSIGN_MAX_PAIRS is", "COUNTERSIGN_MAX-PAIRS", "COUNTERSIGN_NOTHING_LIKE_IT"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
	t.Run("of Kubernetes, tests and building", func(t *testing.T) {
		_, err := loadFrom(t, nil, map[string]string{
			"COUNTERSIGN_SERVICE_HOST": "10.0.0.1", "COUNTERSIGN_SERVICE_PORT": "80", "COUNTERSIGN_SERVICE_PORT_HTTP": "80", "COUNTERSIGN_PORT": "tcp://10.0.0.1:80",
			"COUNTERSIGN_PORT_80_TCP_ADDR": "10.0.0.1", "COUNTERSIGN_INGEST_SERVICE_HOST": "10.0.0.2", "COUNTERSIGN_INGEST_PORT_80_TCP": "tcp://10.0.0.2:80",
			"COUNTERSIGN_TEST_SEED": "1", "COUNTERSIGN_CACHE": "x", "COUNTERSIGN_CPU": "generic",
		}, "")
		if err != nil {
			t.Error(err)
		}
	})
}

// One list has all that is wrong: what can't be read, what is out of bounds, what is unknown, and files that are missing.
func TestOneListOfProblems(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, []byte("no PEM"), 0o600))
	yaml := filepath.Join(dir, "c.yaml")
	must(t, os.WriteFile(yaml, []byte("shards: x\nlisten: \"8080\"\nlog-level: loud\nmax-pears: 1\n"), 0o600))
	out, err := output("serve", "--config", yaml, "--tls-cert", missing+".pem", "--tls-key", file, "--cert-roots", file, "--cert-dir", missing,
		"--kafka-tls", "--kafka", "127.0.0.1:1", "--kafka-ca", missing+".ca", "--kafka-cert", file, "--kafka-key", missing+".key", "--data-dir", file,
		"--engine-lib", missing+".so", "--max-uploads", "1.5")
	if err == nil {
		t.Fatal("it started")
	}
	for _, want := range []string{
		"line 1, shards", `--listen "8080"`, "--log-level", "max-pears", "--max-uploads", "missing.pem", "--cert-roots: " + file, "--cert-dir: ", "--kafka-ca: ",
		"missing.so", "--data-dir: ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the list lacks %q:\n%s", want, out)
		}
	}
	if out, err := output("serve", "--max-pears", "5"); err == nil || !strings.Contains(out, "--max-pairs is") {
		t.Errorf("an unknown flag: %v:\n%s", err, out)
	}
	if out, err := output("serve", "--config", missing, "--cert-dir", missing); err == nil || !strings.Contains(out, "--config "+missing) || !strings.Contains(out, "--cert-dir") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestFilesForTLSAreNotNamedInVain(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--kafka", "a:1", "--kafka-ca", "x"}, "need --kafka-tls"},
		{[]string{"--kafka", "a:1", "--kafka-tls", "--kafka-cert", "x"}, "--kafka-cert and --kafka-key go together"},
		{[]string{"--kafka-tls"}, "name brokers with --kafka"},
		{[]string{"--clickhouse", "clickhouse://a:9000/b", "--clickhouse-ca", "x"}, "secure=true"},
		{[]string{"--clickhouse-ca", "x"}, "secure=true"},
		{[]string{"--clickhouse", "clickhouse://a:9440/b?secure=true", "--clickhouse-key", "x"}, "--clickhouse-cert and --clickhouse-key go together"},
	} {
		if _, err := loadFrom(t, c.args, nil, ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		}
	}
	if _, err := loadFrom(t, []string{"--clickhouse", "clickhouse://a:9440/b?secure=true", "--clickhouse-cert", "x", "--clickhouse-key", "y"}, nil, ""); err != nil {
		t.Error(err)
	}
}
