package main

// What `countersign serve` can be told: one struct, one table of flags that is also the manual, and one check that
// reports everything that is wrong at once. settings.go says where the values come from.

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"countersign/ingest/admission"
	"countersign/ingest/server"
	"countersign/internal/bytesize"
	"countersign/pipeline/certs"
	"countersign/pipeline/record"
	"countersign/sink/store/engine"
)

const envPrefix = "COUNTERSIGN_"

// config is everything that serve can be told. The tags are the flags' names.
type config struct {
	Config string `koanf:"config"`

	Role    []string `koanf:"role"`
	DataDir string   `koanf:"data-dir"`

	Listen      string   `koanf:"listen"`
	AdminListen string   `koanf:"admin-listen"`
	AdminHost   []string `koanf:"admin-host"`
	Pprof       bool     `koanf:"pprof"`
	TLSCert     string   `koanf:"tls-cert"`
	TLSKey      string   `koanf:"tls-key"`

	PublicURL      string   `koanf:"public-url"`
	TrustedProxies []string `koanf:"trusted-proxies"`

	MaxPairs      int           `koanf:"max-pairs"`
	MaxBody       bytesize.Size `koanf:"max-body"`
	MaxUploads    int           `koanf:"max-uploads"`
	MaxBacklog    int64         `koanf:"max-backlog"`
	MinBodyRate   bytesize.Size `koanf:"min-body-rate"`
	StallTimeout  time.Duration `koanf:"stall-timeout"`
	UploadTimeout time.Duration `koanf:"upload-timeout"`

	CertRoots   string        `koanf:"cert-roots"`
	CertHost    []string      `koanf:"cert-host"`
	CertDir     string        `koanf:"cert-dir"`
	CertGrace   time.Duration `koanf:"cert-grace"`
	DenyAddress []string      `koanf:"deny-address"`
	CertProxy   string        `koanf:"cert-proxy"`
	ProxyDNS    string        `koanf:"cert-proxy-dns"`

	Workers      int           `koanf:"workers"`
	VerifyMemory bytesize.Size `koanf:"verify-memory"`
	MemoryLimit  bytesize.Size `koanf:"memory-limit"`
	MinFreeDisk  bytesize.Size `koanf:"min-free-disk"`
	LogMax       bytesize.Size `koanf:"log-max"`

	Kafka            []string      `koanf:"kafka"`
	KafkaTLS         bool          `koanf:"kafka-tls"`
	KafkaCA          string        `koanf:"kafka-ca"`
	KafkaCert        string        `koanf:"kafka-cert"`
	KafkaKey         string        `koanf:"kafka-key"`
	KafkaSASL        string        `koanf:"kafka-sasl"`
	KafkaUser        string        `koanf:"kafka-user"`
	KafkaPassword    string        `koanf:"kafka-password"`
	KafkaPrefix      string        `koanf:"kafka-prefix"`
	KafkaReplication int           `koanf:"kafka-replication"`
	KafkaRetention   time.Duration `koanf:"kafka-retention"`
	UploadPartitions int           `koanf:"upload-partitions"`
	Shards           int           `koanf:"shards"`

	ClickHouse        string        `koanf:"clickhouse"`
	ClickHouseCA      string        `koanf:"clickhouse-ca"`
	ClickHouseCert    string        `koanf:"clickhouse-cert"`
	ClickHouseKey     string        `koanf:"clickhouse-key"`
	ClickHouseCluster string        `koanf:"clickhouse-cluster"`
	EngineLib         string        `koanf:"engine-lib"`
	EngineLibSHA256   string        `koanf:"engine-lib-sha256"`
	EngineBinary      string        `koanf:"engine-binary"`
	EngineMemory      bytesize.Size `koanf:"engine-memory"`

	LogLevel  string `koanf:"log-level"`
	LogFormat string `koanf:"log-format"`
}

const (
	roleIngest = "ingest"
	roleVerify = "verify"
	roleSink   = "sink"
)

func (c *config) has(role string) bool { return slices.Contains(c.Role, role) }

// bind declares the flags, with their defaults and units.
func bind(f *pflag.FlagSet) {
	sized := func(name string, value bytesize.Size, usage string) { f.Var(&value, name, usage) }

	f.String("config", "", "YAML `file` with any of these settings, named as the flags are")
	f.StringSlice("role", []string{roleIngest, roleVerify, roleSink}, "what this process does; roles of one service share a Kafka and a ClickHouse")
	f.String("data-dir", "data", "`folder` of the embedded log and engine, made if missing")

	f.String("listen", ":8080", "`address` of the API")
	f.String("admin-listen", "127.0.0.1:9090", "`address` of /livez, /readyz and /metrics; empty for none")
	f.StringArray("admin-host", nil, "`name` by which probes and Prometheus may ask the admin listener, beside localhost and its addresses; others get 421; any number of times")
	f.Bool("pprof", false, "serve profiles at /debug/pprof/ of the admin listener, to whoever reaches it")
	f.String("tls-cert", "", "PEM `file` with the API's certificate chain: HTTPS instead of HTTP; read again when it changes")
	f.String("tls-key", "", "PEM `file` with its private key")

	f.String("public-url", "", "`URL` at which people see the web page, if a reverse proxy shows it below a path: https://example.org/countersign")
	f.StringSlice("trusted-proxies", nil, "addresses and `CIDR` prefixes of proxies whose X-Forwarded-For or Forwarded names the client")

	f.Int("max-pairs", 1_000_000, "pairs in one upload; more get 413")
	sized("max-body", 512<<20, "bytes in one upload's body, after decompression; more get 413")
	f.Int("max-uploads", 64, "uploads open at once; more wait for a second, and get 503")
	f.Int64("max-backlog", 20_000, "records of the log that may wait to be verified or stored; above that, uploads get 503")
	sized("min-body-rate", 16<<10, "bytes a second that a body must bring while others wait, or while more than half of --max-uploads are open; 0: none")
	f.Duration("stall-timeout", 30*time.Second, "how long an upload's body may pause; then 408")
	f.Duration("upload-timeout", 10*time.Minute, "how long an upload's body may take; then 408")

	f.String("cert-roots", "", "PEM `file` of the roots that sites' certificates are validated against; default: the system's")
	f.StringArray("cert-host", nil, "`site=host:port` where a site's certificate is fetched instead of site:443; it may be a private address; any number of times")
	f.String("cert-dir", "", "`folder` of PEM files named after the site (SITE.pem), asked before the network; they are trusted as they are")
	f.Duration("cert-grace", certs.UsualGrace, "how long a certificate counts after its site was seen serving it, unless it expires sooner")
	f.StringSlice("deny-address", nil, "`CIDR` of public addresses that sites are never asked at, such as your own networks and their NAT64 prefix; any number of them")
	f.String("cert-proxy", "", "`URL` of the proxy through which sites are asked, http://, https:// or socks5://user:password@host:port; default: HTTPS_PROXY of the environment; direct: none. NO_PROXY names sites that are asked directly")
	f.String("cert-proxy-dns", dnsByProxy, "who looks up the names of sites that are asked through a proxy: proxy, which must not lead into your network, or here, which only lets it connect to public addresses")

	f.Int("workers", 0, "goroutines that verify signatures; 0: one a processor")
	sized("verify-memory", 320<<20, "bytes of open uploads that the verifier holds; the rest is read again from the log")
	sized("memory-limit", 640<<20, "soft limit of the Go heap, in bytes; 0: none")

	f.StringSlice("kafka", nil, "`host:port` of brokers; default: an embedded broker in the data dir")
	f.Bool("kafka-tls", false, "connect to the brokers with TLS")
	f.String("kafka-ca", "", "PEM `file` of the roots for the brokers' certificates; default: the system's")
	f.String("kafka-cert", "", "PEM `file` with the certificate chain that is shown to brokers that want one; read again for each connection")
	f.String("kafka-key", "", "PEM `file` with its private key")
	f.String("kafka-sasl", "", "SASL `mechanism`: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	f.String("kafka-user", "", "SASL user")
	f.String("kafka-password", "", "SASL password; better given as "+envPrefix+"KAFKA_PASSWORD")
	f.String("kafka-prefix", "", "`prefix` of the names of topics and groups, for several services on one cluster")
	f.Int("kafka-replication", 0, "replicas of topics that are created; 0: 1 embedded, else 3")
	sized("log-max", 0, "size of the embedded log above which processed records are deleted before --kafka-retention; 0: 32 GiB, or half of the disk if that is less")
	sized("min-free-disk", 0, "room that the embedded log's disk must have, or uploads are refused; 0: 1 GiB, or a fiftieth of the disk if that is less")
	f.Duration("kafka-retention", 0, "how long records are kept in topics that are created; 2h at least, and longer than any outage to survive; 0: 24h embedded, else 168h")
	f.Int("upload-partitions", 4, "partitions of topic uploads where it is created; bounds how many verifiers can share the work")
	f.Int("shards", 4, "partitions of topic verified where it is created; bounds how many sinks can share the work; can't be changed later")

	f.String("clickhouse", "", "`URL` of a ClickHouse server, clickhouse://user:password@host:9000/database?secure=true; default: an embedded engine in the data dir")
	f.String("clickhouse-ca", "", "PEM `file` of the roots for ClickHouse's certificate; default: the system's")
	f.String("clickhouse-cert", "", "PEM `file` with the certificate chain that is shown to a ClickHouse that wants one; read again for each connection")
	f.String("clickhouse-key", "", "PEM `file` with its private key")
	f.String("clickhouse-cluster", "", "`name` of the ClickHouse cluster whose shards divide the rows, and whose replicas keep them")
	f.String("engine-lib", "", "`file` of the embedded engine, libchdb.so; default: where `make engine` puts it")
	f.String("engine-lib-sha256", engine.LibDigest, "SHA-256 that the embedded engine must have, in `hex`; name that of another file to trust it")
	f.String("engine-binary", "", "`file` of a clickhouse binary to embed instead; default: the library, or clickhouse on the PATH where there is none")
	sized("engine-memory", 0, "memory that the embedded engine may use; 0: half of what the machine, or the cgroup, has, and 4 GiB at most")

	f.String("log-level", "info", "debug, info, warn or error")
	f.String("log-format", "text", "text or json")
}

// check returns everything that is wrong with the settings together.
func (c *config) check() []error {
	var problems []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	for _, r := range c.Role {
		wrong(r != roleIngest && r != roleVerify && r != roleSink, "--role %s: there are ingest, verify and sink", r)
	}
	all := c.has(roleIngest) && c.has(roleVerify) && c.has(roleSink)
	wrong(len(c.Role) == 0, "--role: name at least one of ingest, verify and sink")
	wrong(!all && len(c.Kafka) == 0, "--role %s: a process with some of the roles needs --kafka, which the others share", strings.Join(c.Role, ","))
	wrong(!all && c.ClickHouse == "", "--role %s: a process with some of the roles needs --clickhouse, which the others share", strings.Join(c.Role, ","))
	wrong((c.TLSCert == "") != (c.TLSKey == ""), "--tls-cert and --tls-key go together")
	for name, address := range map[string]string{"listen": c.Listen, "admin-listen": c.AdminListen} {
		_, port, err := net.SplitHostPort(address)
		_, portErr := strconv.ParseUint(port, 10, 16)
		wrong((address != "" || name == "listen") && (err != nil || portErr != nil), "--%s %q: write host:port, or :port for all addresses", name, address)
	}
	for _, h := range c.AdminHost {
		_, notAddress := netip.ParseAddr(h)
		wrong(h == "" || notAddress != nil && strings.ContainsAny(h, ":/*[]@ \t"), "--admin-host %q: write a name or an address, without a port", h)
	}
	for _, b := range c.Kafka {
		_, _, err := net.SplitHostPort(b)
		wrong(err != nil, "--kafka %q: write host:port", b)
	}
	_, err := c.hosts()
	wrong(err != nil, "%v", err)
	_, err = certs.ParsePrefixes(c.DenyAddress)
	wrong(err != nil, "--deny-address: %v", err)
	_, _, err = c.certProxy()
	wrong(err != nil && c.has(roleVerify), "%v", err)
	wrong(c.ProxyDNS != dnsByProxy && c.ProxyDNS != dnsHere, "--cert-proxy-dns %q: there are proxy and here", c.ProxyDNS)
	_, err = c.proxies()
	wrong(err != nil, "--trusted-proxies: %v", err)
	err = server.CheckPublicURL(c.PublicURL)
	wrong(err != nil, "%v", err)
	wrong(!slices.Contains([]string{"", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}, c.KafkaSASL), "--kafka-sasl %q: there are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512", c.KafkaSASL)
	c.checkTLS(wrong)
	wrong((c.KafkaSASL == "") != (c.KafkaUser == ""), "--kafka-sasl and --kafka-user go together")
	for name, n := range map[string]int64{
		"max-pairs": int64(c.MaxPairs), "max-body": int64(c.MaxBody), "max-uploads": int64(c.MaxUploads), "max-backlog": c.MaxBacklog,
		"stall-timeout": int64(c.StallTimeout), "cert-grace": int64(c.CertGrace), "upload-timeout": int64(c.UploadTimeout), "upload-partitions": int64(c.UploadPartitions),
		"shards": int64(c.Shards),
	} {
		wrong(n <= 0, "--%s must be more than 0", name)
	}
	digest, err := hex.DecodeString(c.EngineLibSHA256)
	wrong(err != nil || len(digest) != sha256.Size || strings.ToLower(c.EngineLibSHA256) != c.EngineLibSHA256,
		"--engine-lib-sha256 %q: write 64 lower-case hex digits, as sha256sum does", c.EngineLibSHA256)
	wrong(c.KafkaRetention != 0 && c.KafkaRetention < leastRetention,
		"--kafka-retention %s: at least %s, since records refer to others that are up to an hour older", c.KafkaRetention, leastRetention)
	wrong(c.KafkaReplication < 0, "--kafka-replication can't be negative")
	wrong(c.Shards > 4096, "--shards %d: at most 4096", c.Shards)
	wrong(c.MaxPairs > record.MaxPairs, "--max-pairs %d: at most %d", c.MaxPairs, record.MaxPairs)
	wrong(c.Workers < 0, "--workers can't be negative")
	_, err = c.level()
	wrong(err != nil, "--log-level %q: there are debug, info, warn and error", c.LogLevel)
	wrong(c.LogFormat != "text" && c.LogFormat != "json", "--log-format %q: there are text and json", c.LogFormat)
	return problems
}

// checkTLS checks what is said about TLS towards Kafka and ClickHouse: no file is named in vain.
func (c *config) checkTLS(wrong func(bad bool, format string, args ...any)) {
	for _, f := range []tlsFiles{c.kafkaFiles(), c.clickHouseFiles()} {
		wrong((f.cert == "") != (f.key == ""), "%s-cert and %[1]s-key go together", f.prefix)
	}
	wrong(c.KafkaTLS && len(c.Kafka) == 0, "--kafka-tls: the embedded log has no connections; name brokers with --kafka")
	wrong(!c.KafkaTLS && c.kafkaFiles().any(), "--kafka-ca, --kafka-cert and --kafka-key need --kafka-tls")
	u, err := url.Parse(c.ClickHouse)
	secure := false
	if err == nil {
		secure, _ = strconv.ParseBool(u.Query().Get("secure"))
	}
	wrong(!secure && c.clickHouseFiles().any(), "--clickhouse-ca, --clickhouse-cert and --clickhouse-key need --clickhouse with secure=true in its URL")
}

// proxies is --trusted-proxies.
func (c *config) proxies() (admission.Proxies, error) {
	return admission.ParseProxies(strings.Join(c.TrustedProxies, ","))
}

// hosts is --cert-host as a map.
func (c *config) hosts() (map[string]string, error) {
	hosts := make(map[string]string)
	var problems []error
	for _, h := range c.CertHost {
		site, address, err := certs.ParseHost(h)
		problems = append(problems, err)
		hosts[site] = address
	}
	return hosts, errors.Join(problems...)
}

func (c *config) level() (slog.Level, error) {
	var l slog.Level
	err := l.UnmarshalText([]byte(c.LogLevel))
	return l, err
}

// logger writes to standard error what has the level at least. It sets level to the configured one.
func (c *config) logger(level *slog.LevelVar) *slog.Logger {
	configured, _ := c.level()
	level.Set(configured)
	return newLogger(os.Stderr, c.LogFormat, wantsColour(os.Stderr, os.Getenv), level)
}
