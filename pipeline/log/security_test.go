package log_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"countersign/internal/speaks/speakstest"
	"countersign/pipeline/log"
	"countersign/pipeline/log/internal/logtest"
)

// Each way in works for everything that opens a connection: producing, consuming as a group, asking for lag.
func TestTLSAndSASL(t *testing.T) {
	server, roots := loopbackCertificate(t)
	trusting := &tls.Config{RootCAs: roots}
	demanding, known := server.Clone(), trusting.Clone()
	demanding.ClientAuth, demanding.ClientCAs = tls.RequireAndVerifyClientCert, roots
	known.Certificates = server.Certificates
	for _, tc := range []struct {
		name   string
		opts   []kfake.Opt
		config log.Config
	}{
		{"TLS", []kfake.Opt{kfake.TLS(server)}, log.Config{TLS: trusting}},
		{"TLS with client certificates", []kfake.Opt{kfake.TLS(demanding)}, log.Config{TLS: known}},
		{"PLAIN", login("PLAIN"), log.Config{SASL: log.SASL{"PLAIN", "user", "secret"}}},
		{"SCRAM-SHA-256", login("SCRAM-SHA-256"), log.Config{SASL: log.SASL{"SCRAM-SHA-256", "user", "secret"}}},
		{"TLS and SCRAM-SHA-512", append(login("SCRAM-SHA-512"), kfake.TLS(server)),
			log.Config{TLS: trusting, SASL: log.SASL{"SCRAM-SHA-512", "user", "secret"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.config.Brokers = startCluster3(t, tc.opts...)
			c := logtest.Open(t, tc.config)
			topic, group := logtest.NewTopic(t, c, 3), logtest.UniqueName("group")
			p := logtest.NewProducer(t, c, log.ProducerConfig{})
			for part := range 3 {
				logtest.Send(t, p, topic, part, "x")
			}
			l := newLedger()
			stop := logtest.Consume(t, c, group, topic, l.handle("A"))
			logtest.Eventually(t, "consumed", func() bool { return l.count() == 3 })
			stop()
			if lag, err := c.Lag(logtest.Context(t), group, topic); err != nil || lag != 0 {
				t.Errorf("lag %d, %v", lag, err)
			}
		})
	}
}

func TestOpenFailures(t *testing.T) {
	server, serverRoots := loopbackCertificate(t)
	_, otherRoots := loopbackCertificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	for _, tc := range []struct {
		name   string
		config log.Config
		want   []string
	}{
		{"no address", log.Config{}, []string{"host:port"}},
		{"nobody there", log.Config{Brokers: []string{closed}}, []string{closed, "check that Kafka runs there"}},
		{"wrong password",
			log.Config{Brokers: startCluster3(t, login("PLAIN")...), SASL: log.SASL{"PLAIN", "user", "wrong"}},
			[]string{"SASL", `refuses the user "user" with the mechanism PLAIN`, "COUNTERSIGN_KAFKA_PASSWORD"}},
		{"another mechanism",
			log.Config{Brokers: startCluster3(t, login("PLAIN")...), SASL: log.SASL{"SCRAM-SHA-256", "user", "secret"}},
			[]string{"--kafka-sasl"}},
		{"login demanded",
			log.Config{Brokers: startCluster3(t, login("PLAIN")...)},
			[]string{"expected Kafka without a login", "set --kafka-sasl"}},
		{"login demanded, over TLS",
			log.Config{Brokers: startCluster3(t, append(login("PLAIN"), kfake.TLS(server))...), TLS: &tls.Config{RootCAs: serverRoots}},
			[]string{"expected Kafka without a login", "set --kafka-sasl"}},
		{"TLS demanded",
			log.Config{Brokers: startCluster3(t, kfake.TLS(server))},
			[]string{"found a listener that speaks TLS", "set --kafka-tls"}},
		{"no TLS there",
			log.Config{Brokers: startCluster3(t), TLS: &tls.Config{}},
			[]string{"expected Kafka over TLS, and found Kafka without TLS", "leave out --kafka-tls"}},
		{"web server",
			log.Config{Brokers: []string{speakstest.Listen(t, nil, "HTTP/1.1 400 Bad Request\r\n\r\n")}},
			[]string{"found a web server (HTTP)", "usually 9092"}},
		{"web server over TLS",
			log.Config{Brokers: []string{speakstest.Listen(t, server, "HTTP/1.1 400 Bad Request\r\n\r\n")}, TLS: &tls.Config{RootCAs: serverRoots}},
			[]string{"found a web server (HTTPS)", "usually 9092"}},
		{"ZooKeeper",
			log.Config{Brokers: []string{speakstest.Listen(t, nil, "Zookeeper version: 3.8.4")}},
			[]string{"found ZooKeeper", "2181"}},
		{"something else",
			log.Config{Brokers: []string{speakstest.Listen(t, nil, "SSH-2.0-x\r\n")}},
			[]string{"neither Kafka's", "usually 9092"}},
		{"closes",
			log.Config{Brokers: []string{speakstest.Listen(t, nil, "")}},
			[]string{"accepts connections and closes them"}},
		{"a client certificate demanded",
			log.Config{Brokers: startCluster3(t, kfake.TLS(demanding(server))), TLS: &tls.Config{RootCAs: serverRoots}},
			[]string{"--kafka-cert"}},
		{"unknown mechanism",
			log.Config{Brokers: []string{closed}, SASL: log.SASL{Mechanism: "GSSAPI"}},
			[]string{"GSSAPI", "SCRAM-SHA-512"}},
		{"unknown authority",
			log.Config{Brokers: startCluster3(t, kfake.TLS(server)), TLS: &tls.Config{RootCAs: otherRoots}},
			[]string{"certificate", "--kafka-ca"}},
	} {
		tc.config.StartTimeout = time.Nanosecond // the first answer is believed
		c, err := log.Open(logtest.Context(t), tc.config)
		if err == nil {
			c.Close()
			t.Errorf("%s: opened", tc.name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q lacks %q", tc.name, err, want)
			}
		}
	}
}

// demanding is a server's configuration with which clients have to show a certificate.
func demanding(server *tls.Config) *tls.Config {
	strict := server.Clone()
	strict.ClientAuth = tls.RequireAnyClientCert
	return strict
}

// A start that can't succeed ends long before its time-out, and says in the log what it waits for.
func TestAWrongPortIsToldOfWithinSeconds(t *testing.T) {
	var text lockedBuffer
	began := time.Now()
	c, err := log.Open(logtest.Context(t), log.Config{
		Brokers: []string{speakstest.Listen(t, nil, "HTTP/1.1 400 Bad Request\r\n\r\n")}, StartTimeout: time.Hour,
		Logger: slog.New(slog.NewTextHandler(&text, nil)),
	})
	if err == nil {
		c.Close()
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), "a web server") || time.Since(began) > logtest.Limit {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if log := text.String(); !strings.Contains(log, "waiting for what the start needs") || !strings.Contains(log, "a web server") {
		t.Errorf("the log: %s", log)
	}
}

// The brokers may be elsewhere than they say.
func TestOpenTellsOfAdvertisedAddresses(t *testing.T) {
	behind := startCluster3(t, kfake.NumBrokers(1))[0]
	listener, err := net.Listen("tcp", "127.0.0.1:0") // forwards to a broker that is gone when its address is dialled
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			broker, err := net.Dial("tcp", behind)
			if err != nil {
				conn.Close()
				return
			}
			working.Go(func() { _, _ = io.Copy(broker, conn); broker.Close() })
			working.Go(func() { _, _ = io.Copy(conn, broker); conn.Close() })
		}
	})
	defer listener.Close()
	given := listener.Addr().String()
	advertised := &net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		if address == behind {
			return syscall.EHOSTUNREACH
		}
		return nil
	}}
	_, err = log.OpenDialing(logtest.Context(t), log.Config{Brokers: []string{given}, StartTimeout: time.Nanosecond}, advertised.DialContext)
	if err == nil || !strings.Contains(err.Error(), given+" answers, and says that the cluster is reached at "+behind) ||
		!strings.Contains(err.Error(), "advertised.listeners") {
		t.Error(err)
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Open doesn't hang on a broker that accepts and says nothing: it ends with its context.
func TestOpenDeafBroker(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(logtest.Context(t))
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		nc, err := deaf.Accept()
		if err != nil {
			return
		}
		cancel() // Open waits for an answer now, or is about to
		_, _ = io.Copy(io.Discard, nc)
		nc.Close()
	})
	c, err := log.Open(ctx, log.Config{Brokers: []string{deaf.Addr().String()}})
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, log.ErrUnavailable) || ctx.Err() == nil {
		t.Errorf("open: %v", err)
	}
	deaf.Close()
	wg.Wait()
}

// One of several addresses is enough.
func TestOpenTriesAllBrokers(t *testing.T) {
	cfg := testConfig(t)
	cfg.Brokers = append([]string{"127.0.0.1:1"}, cfg.Brokers...)
	c := logtest.Open(t, cfg)
	topic := logtest.NewTopic(t, c, 1)
	logtest.Send(t, logtest.NewProducer(t, c, log.ProducerConfig{}), topic, 0, "x")
	consumed := newLedger()
	logtest.Consume(t, c, logtest.UniqueName("group"), topic, consumed.handle("A"))
	logtest.Eventually(t, "consumed", func() bool { return consumed.count() == 1 })
}

// EnsureTopic races with itself, and keeps what is there.
func TestEnsureTopic(t *testing.T) {
	cfg := testConfig(t)
	name := logtest.UniqueName("topic")
	ctx := logtest.Context(t)
	results := make(chan error)
	for range 4 {
		c := logtest.Open(t, cfg)
		go func() {
			n, err := c.EnsureTopic(ctx, log.TopicSpec{Name: name, Partitions: 5, Replication: 1})
			if err == nil && n != 5 {
				err = errors.New("not five partitions")
			}
			results <- err
		}()
	}
	for range 4 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	c := logtest.Open(t, cfg)
	if n, err := c.EnsureTopic(ctx, log.TopicSpec{Name: name, Partitions: 7}); err != nil || n != 5 {
		t.Errorf("%d partitions, %v: an existing topic has those it was made with", n, err)
	}
	if _, err := c.EnsureTopic(ctx, log.TopicSpec{Name: name}); err == nil {
		t.Error("made a topic without partitions")
	}
}

func login(mechanism string) []kfake.Opt {
	return []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(mechanism, "user", "secret")}
}

// startCluster3 starts three brokers in memory, so that leaders and coordinators are not who was asked first.
func startCluster3(t *testing.T, opts ...kfake.Opt) (brokers []string) {
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()
}

// loopbackCertificate makes a certificate for 127.0.0.1, and the roots that trust it.
func loopbackCertificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}
