package certs

// A dir serves closed networks: the operator puts the chains of each site into a file, and thereby vouches for them. So
// the chains need not lead to a root. The name and the time are still checked, because a file with a wrong name, or one
// that was forgotten, would count for ever.
//
// A file is looked at each time that it is asked for, and read again when it is another one than before. That costs
// little, so there are no turns and no Interval.

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"countersign/internal/fifo"
	"countersign/internal/hostname"
	"countersign/internal/pemfile"
)

// dir reads <folder>/<site>.pem, in whatever form package pemfile takes. A file holds certificates of the site and those
// above them, in any order; what can't be read is left out, with a word in the log, and spoils nothing else.
type dir struct {
	folder string
	clock  func() time.Time
	logger *slog.Logger
	reads  chan struct{}                 // an element for each read that is under way, at most maxReads
	files  *fifo.Map[string, parsedFile] // by site
}

// parsedFile is a file as it was read.
type parsedFile struct {
	info fs.FileInfo
	read time.Time // when reading it began
	*pemfile.File
}

func newDir(folder string, clock func() time.Time, logger *slog.Logger) *dir {
	return &dir{
		folder: folder, clock: clock, logger: logger,
		reads: make(chan struct{}, maxReads), files: fifo.New[string, parsedFile](maxFiles),
	}
}

// nameStrays says which files look like a certificate and belong to no site, because of their names.
func (d *dir) nameStrays() {
	entries, err := os.ReadDir(d.folder)
	if err != nil {
		return // check says so
	}
	var strays []string
	for _, entry := range entries {
		kind := filepath.Ext(entry.Name())
		site := strings.TrimSuffix(entry.Name(), kind)
		looksSo := slices.Contains([]string{".pem", ".crt", ".cer", ".cert", ".der", ".p7b", ".p12", ".pfx"}, strings.ToLower(kind))
		if looksSo && (kind != ".pem" || hostname.Check(site) != nil) && len(strays) < maxStrays {
			strays = append(strays, entry.Name())
		}
	}
	if len(strays) > 0 {
		d.logger.Warn("files in --cert-dir are used for no site: name them SITE.pem, after the site in lower case", "dir", d.folder, "file", strays)
	}
}

// maxStrays bounds a line of the log.
const maxStrays = 10

// look gives the chains of a site's file whose leaves can be used, MaxLeaves at most. The error is an *[Unavailable],
// one that wraps [errUnknownSite] where the site has no file, or wraps ctx's error. site is a host name, so the path
// stays inside the folder.
func (d *dir) look(ctx context.Context, site string) ([]found, error) {
	type result struct {
		found []found
		err   error
	}
	results := make(chan result, 1)
	select {
	case d.reads <- struct{}{}:
	case <-ctx.Done():
		return nil, d.late(ctx, site)
	}
	go func() { // a folder that hangs must not hold the caller
		defer func() { <-d.reads }()
		found, err := d.read(site)
		results <- result{found, err}
	}()
	select {
	case r := <-results:
		return r.found, r.err
	case <-ctx.Done():
		return nil, d.late(ctx, site)
	}
}

// late is the error of a read that takes longer than its caller has time.
func (d *dir) late(ctx context.Context, site string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("reading the file of %s: %w", site, ctx.Err())
	}
	return unusableFile(site, "can't be read in time", fmt.Errorf("reading %s: %w", d.folder, ctx.Err()))
}

func (d *dir) read(site string) ([]found, error) {
	path := filepath.Join(d.folder, site+".pem")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.check(); err != nil {
			return nil, &Unavailable{
				Site: site,
				Reason: site + ": the folder of certificates that the operator of this service set up can't be read; " +
					"the operator must mend it",
				Err: err,
			}
		}
		return nil, &Unavailable{
			Site: site,
			Reason: site + ": the operator of this service has set up no certificate for this site; " +
				"only the operator can mend that",
			Err: fmt.Errorf("%w: %w", errUnknownSite, err),
		}
	}
	if err != nil {
		return nil, unusableFile(site, "can't be read", err)
	}
	file, ok := d.files.Get(site)
	if !ok || !file.sameAs(info) {
		began := time.Now()
		text, err := readFile(path, info)
		if err != nil {
			return nil, unusableFile(site, "can't be read", err)
		}
		file = parsedFile{info: info, read: began, File: pemfile.Parse(path, text)}
		for _, problem := range file.Problems {
			if problem.Kind == pemfile.Certificate {
				d.logger.Warn("a file of certificates has something that can't be read, and is used without it", "site", site, "error", problem)
			}
		}
		d.files.Put(site, file)
	}
	return chooseChains(site, file.File, d.clock())
}

// sameAs reports whether a file is the one that was read. A file that was changed shortly before it was read counts as
// another one: it may have been changed again within the same tick of the file system's clock.
func (f parsedFile) sameAs(info fs.FileInfo) bool {
	const tick = 2 * time.Second
	return os.SameFile(f.info, info) && f.info.Size() == info.Size() && f.info.ModTime().Equal(info.ModTime()) &&
		f.read.Sub(info.ModTime()) > tick
}

// check reports whether the folder is there.
func (d *dir) check() error {
	info, err := os.Stat(d.folder)
	switch {
	case err != nil:
		return fmt.Errorf("--cert-dir: %w", err)
	case !info.IsDir():
		return fmt.Errorf("--cert-dir: %s is no folder", d.folder)
	}
	return nil
}

// probe is a health.Check's.
func (d *dir) probe(context.Context) error {
	if err := d.check(); err != nil {
		return fmt.Errorf("%w; until it is back, no site can be verified", err)
	}
	return nil
}

// readFile reads a regular file of at most maxFile bytes: opening anything
// else, a pipe say, could block.
func readFile(path string, info fs.FileInfo) ([]byte, error) {
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return text, nil
}

// chooseChains returns the chains of a file whose leaves can be used. Of more than MaxLeaves it takes those whose
// leaves became valid last.
func chooseChains(site string, file *pemfile.File, now time.Time) ([]found, error) {
	type usable struct {
		kind kind
		leaf *x509.Certificate
		found
	}
	var chains []usable
	reason, cause := nothingIn(file)
	var taken []*x509.Certificate
	for i, leaf := range file.Certificates {
		if slices.ContainsFunc(taken, leaf.Equal) {
			continue
		}
		taken = append(taken, leaf)
		if err := leaf.VerifyHostname(site); err != nil {
			if cause == nil {
				reason, cause = "holds certificates for other names alone", err
			}
			continue
		}
		k, err := leafKind(leaf)
		if err != nil {
			reason, cause = "holds a certificate with a key of a kind or size that isn't accepted", err
			continue
		}
		if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
			reason, cause = "holds a certificate that has expired or is not valid yet", errNotNow
			continue
		}
		chain := chainOf(pemfile.Chain(file.Certificates, i))
		if chain.size() > maxChain {
			reason, cause = fmt.Sprintf("holds a chain of more than %d KiB", maxChain>>10), errLongChain
			continue
		}
		chains = append(chains, usable{kind: k, leaf: leaf, found: found{chain: chain, until: leaf.NotAfter}})
	}
	if len(chains) == 0 {
		return nil, unusableFile(site, reason, cause)
	}
	slices.SortStableFunc(chains, func(a, b usable) int { return b.leaf.NotBefore.Compare(a.leaf.NotBefore) })
	chains = chains[:min(len(chains), MaxLeaves)]
	slices.SortStableFunc(chains, func(a, b usable) int { return int(a.kind) - int(b.kind) })
	var all []found
	for _, c := range chains {
		all = append(all, c.found)
	}
	return all, nil
}

var errNotNow = errors.New("outside of its time")

// nothingIn says why a file has no certificate that can be read, or which of them can't. The reason holds no text of the
// file, and no path: uploaders see it.
func nothingIn(file *pemfile.File) (reason string, cause error) {
	for _, problem := range file.Problems {
		if problem.Kind == pemfile.Certificate {
			return fmt.Sprintf("can't be used: %s: %s", problem.Where(), problem.Why), problem
		}
	}
	return "holds no certificate", nil
}

func unusableFile(site, what string, err error) *Unavailable {
	return &Unavailable{
		Site: site,
		Reason: fmt.Sprintf("%s: the file that the operator of this service set up for this site %s; "+
			"the operator must mend it", site, what),
		Err: err,
	}
}

func chainOf(certificates []*x509.Certificate) Chain {
	var chain Chain
	for _, certificate := range certificates {
		chain.Certificates = append(chain.Certificates, certificate.Raw)
	}
	return chain
}
