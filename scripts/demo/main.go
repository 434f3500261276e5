package main

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"countersign/client"
	"countersign/internal/service"
	"countersign/testsite"
	"countersign/testsite/fastrsa"
)

const totalPairs = 100_000

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := demo(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(1)
	}
}

// site is a site with its key, and the share of the pairs that it signs.
type site struct {
	name  string
	key   crypto.Signer
	pairs []client.Pair
}

func demo(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "countersign-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	title("A certificate authority and two sites, served over TLS on loopback")
	sites, args, closeSites, err := makeSites(dir)
	if err != nil {
		return err
	}
	defer closeSites()

	title("countersign serve, with its embedded log and ClickHouse")
	countersign, err := startService(ctx, filepath.Join(dir, "data"), args)
	if err != nil {
		return err
	}
	defer func() { _ = countersign.stop() }() // after an error, which says more

	title("Hashing and signing the Go toolchain's source tree")
	example, err := sign(ctx, sites)
	if err != nil {
		return err
	}
	title("Uploading")
	if err := upload(ctx, countersign.client, sites); err != nil {
		return err
	}
	title("One file's row, as ClickHouse has it: " + example.path)
	if err := countersign.query(ctx, fmt.Sprintf("SELECT * EXCEPT (hash) FROM v_signed_hashes WHERE hash = unhex('%x')", example.hash)); err != nil {
		return err
	}
	title("Uploading the same again: every pair is a duplicate")
	if err := upload(ctx, countersign.client, sites); err != nil {
		return err
	}
	title("Stopping")
	if err := countersign.stop(); err != nil {
		return err
	}
	fmt.Println("stopped clean")
	return nil
}

// title prints a heading: in bold on a terminal, unless NO_COLOR is set.
func title(text string) {
	info, err := os.Stdout.Stat()
	if err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" {
		text = "\033[1m" + text + "\033[0m"
	}
	fmt.Printf("\n%s\n", text)
}

// makeSites returns the sites and the settings that tell the service about them.
func makeSites(dir string) (sites []*site, args []string, closeAll func(), err error) {
	ca, err := testsite.NewCA(testsite.CAConfig{})
	if err != nil {
		return nil, nil, nil, err
	}
	roots := filepath.Join(dir, "roots.pem")
	if err := ca.WriteRoots(roots); err != nil {
		return nil, nil, nil, err
	}
	args = []string{"--cert-roots", roots}
	rsaKey, err := fastrsa.Generate(rand.Reader, 2048) // signs quickly, verifies as any RSA-2048 key does
	if err != nil {
		return nil, nil, nil, err
	}
	var served []*testsite.Site
	for _, c := range []struct {
		name   string
		config testsite.SiteConfig
	}{
		{"bank.example", testsite.SiteConfig{Keys: []crypto.Signer{rsaKey}}},
		{"news.example", testsite.SiteConfig{Curve: elliptic.P256()}},
	} {
		s, err := ca.NewSite(c.name, c.config)
		if err != nil {
			return nil, nil, nil, err
		}
		address, err := s.Serve()
		if err != nil {
			return nil, nil, nil, err
		}
		served = append(served, s)
		args = append(args, "--cert-host", c.name+"="+address)
		key := crypto.Signer(rsaKey)
		if s.ECDSAKey() != nil {
			key = s.ECDSAKey()
		}
		sites = append(sites, &site{name: c.name, key: key})
		fmt.Printf("%s  %T  https://%s\n", c.name, key.Public(), address)
	}
	return sites, args, func() {
		for _, s := range served {
			s.Close()
		}
	}, nil
}

// file is one hashed file of the tree.
type file struct {
	path string
	hash [32]byte
}

// sign fills the sites' pairs: files of the tree first, then made-up hashes. It returns a file to look at later.
func sign(ctx context.Context, sites []*site) (file, error) {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return file{}, fmt.Errorf("asking go where its sources are: %w", err)
	}
	files, err := hashTree(filepath.Join(strings.TrimSpace(string(goroot)), "src"))
	if err != nil {
		return file{}, err
	}
	at := time.Now()
	all := make([]file, totalPairs)
	n := copy(all, files)
	for i := n; i < totalPairs; i++ {
		all[i].hash = sha256.Sum256(fmt.Append(nil, "made-up file ", i))
	}
	for i, s := range sites {
		share := all[i*totalPairs/len(sites) : (i+1)*totalPairs/len(sites)]
		if s.pairs, err = signAll(ctx, s.key, share); err != nil {
			return file{}, err
		}
	}
	fmt.Printf("%d files and %d made-up hashes signed in %.1f s\n", n, totalPairs-n, time.Since(at).Seconds())
	return files[len(files)/2], nil
}

// hashTree returns the regular files under root whose content is not that of an earlier one.
func hashTree(root string) ([]file, error) {
	var files []file
	seen := make(map[[32]byte]bool)
	repeated := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		hash, err := client.HashFile(path)
		if err != nil {
			return err
		}
		if seen[hash] {
			repeated++
			return nil
		}
		seen[hash] = true
		relative, err := filepath.Rel(root, path)
		files = append(files, file{relative, hash})
		return err
	})
	fmt.Printf("%d different files, %d copies of them left out\n", len(files), repeated)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there are no files in %s", root)
	}
	return files, err
}

func signAll(ctx context.Context, key crypto.Signer, files []file) ([]client.Pair, error) {
	pairs := make([]client.Pair, len(files))
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for w := range errs {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(files) && ctx.Err() == nil; i = next.Add(1) - 1 {
				signature, err := client.SignHash(rand.Reader, key, files[i].hash)
				if err != nil {
					errs[w] = err
					return
				}
				pairs[i] = client.Pair{Hash: files[i].hash, Signature: signature}
			}
		})
	}
	wg.Wait()
	return pairs, errors.Join(errors.Join(errs...), ctx.Err())
}

// upload sends every site's pairs and follows them to the last batch.
func upload(ctx context.Context, c *client.Client, sites []*site) error {
	for _, s := range sites {
		at := time.Now()
		receipt, err := c.Upload(ctx, s.name, s.pairs, client.UploadOptions{})
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d pairs accepted as %s in %.0f ms\n", s.name, receipt.Hashes, receipt.UUID, milliseconds(at))
		status, err := c.Wait(ctx, receipt.UUID, func(st client.Status) {
			fmt.Printf("\r  %3d of %d batches done", st.DoneBatch, receipt.Batches)
		})
		if err != nil {
			return err
		}
		fmt.Printf(" after %.0f ms\n  added %d, bad signatures %d, duplicates %d, errors %d\n", milliseconds(at),
			status.OKHash, status.BadSigHash, status.DupHash, status.ErrorHash)
	}
	return nil
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

// running is the running service and a client of it.
type running struct {
	*service.Process
	client *client.Client
	binary string
	data   string
}

// startService starts bin/countersign and waits until it is ready.
func startService(ctx context.Context, data string, args []string) (*running, error) {
	r := &running{binary: filepath.Join("bin", "countersign"), data: data}
	if _, err := os.Stat(r.binary); err != nil {
		return nil, fmt.Errorf("%w; run `make build` first", err)
	}
	var err error
	if r.Process, err = service.Start(ctx, service.Config{Binary: r.binary, Args: append(args, "--data-dir", data)}); err != nil {
		return nil, err
	}
	fmt.Println("ready on http://" + r.API)
	if r.client, err = client.New("http://" + r.API); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

func (r *running) query(ctx context.Context, sql string) error {
	cmd := exec.CommandContext(ctx, r.binary, "query", "--data-dir", r.data, sql)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// stop ends the service in order; further calls return the same.
func (r *running) stop() error {
	r.client.Close()
	return r.Stop()
}
