package main

// For who signs files: by the hundred thousand, and again after any interruption.

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"countersign/client"
	"countersign/client/bulk"
	"countersign/internal/hashfiles"
	"countersign/internal/sumfile"
	"countersign/pipeline/record"
)

const signManual = `Hashes files, signs the hashes with the private key of the site's certificate, uploads hashes and signatures, and waits
for what becomes of each. Folders stand for all files below them. Files and key stay where they are.

What the site has signed before is not signed again. So after an interruption the same command goes on where it stopped.
While the service is busy or away, it is tried again for as long as --retry-for says.

Standard output has a line for each file that was not simply added, or with --json an object for each file. The exit code
is 0 if all files are signed now or were before, 3 if another site owns some of them, and 1 if some are not signed.`

// exitOtherOwner is the exit code where another site signed some of the files first.
const exitOtherOwner = 3

type signFlags struct {
	apiFlags
	site, key           string
	filesFrom, sums     []string
	json, quiet, dryRun bool
	retryFor            time.Duration
}

func signCommand() *cobra.Command {
	var flags signFlags
	c := &cobra.Command{
		Use:   "sign --site SITE --key KEY.pem FILE|FOLDER...",
		Short: "Sign files and upload their hashes",
		Long:  signManual,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args)+len(flags.filesFrom)+len(flags.sums) == 0 {
				return errors.New("sign: name files or folders, or give --files-from or --sums")
			}
			s := &signing{signFlags: flags, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), counts: new(bulk.Counts)}
			return s.run(cmd.Context(), args)
		},
	}
	f := c.Flags()
	flags.bind(f)
	f.StringVar(&flags.site, "site", "", "`host` name of the site whose certificate has the key")
	f.StringVar(&flags.key, "key", "", "PEM `file` with the private key, RSA or ECDSA")
	f.StringArrayVar(&flags.filesFrom, "files-from", nil, "`file` with names of files and folders, each ended by a zero byte; - is standard input")
	f.StringArrayVar(&flags.sums, "sums", nil, "`file` with sums as sha256sum writes them, which are signed as they are; - is standard input")
	f.BoolVar(&flags.json, "json", false, "print a JSON object for each file, and one at the end")
	f.BoolVarP(&flags.quiet, "quiet", "q", false, "show no progress, and no summary")
	f.BoolVar(&flags.dryRun, "dry-run", false, "hash the files, and neither sign nor send anything")
	f.DurationVar(&flags.retryFor, "retry-for", 15*time.Minute, "how long a service that is busy or away is tried again")
	for _, name := range []string{"site", "key"} {
		_ = c.MarkFlagRequired(name) // the flag is there
	}
	return c
}

// signing is one run of the command.
type signing struct {
	signFlags
	out, errs io.Writer
	counts    *bulk.Counts
	kinds     map[bulk.Kind]int
}

func (s *signing) run(ctx context.Context, args []string) error {
	site, err := record.ParseSite(s.site)
	if err != nil {
		return fmt.Errorf("--site: %w", err)
	}
	key, err := client.LoadKey(s.key)
	if err != nil {
		return err
	}
	api, err := s.client(client.WithRetry(client.Retry{For: s.retryFor, Longest: 30 * time.Second}))
	if err != nil {
		return err
	}
	defer api.Close()
	s.kinds = make(map[bulk.Kind]int)
	files := hashfiles.Each(ctx, s.items(args))
	stop := s.showProgress(ctx)
	if s.dryRun {
		err = s.onlyHash(files)
	} else {
		err = bulk.Run(ctx, bulk.Config{
			Client: api, Site: site, Sign: signWith(key), Report: s.report, Counts: s.counts,
		}, files)
	}
	stop()
	done := s.kinds[bulk.Added] + s.kinds[bulk.SignedBefore]
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(s.errs, "countersign: interrupted; %d files are done, and the same command goes on from there\n", done)
		return exitCode(exitInterrupted)
	case err != nil && done > 0:
		return fmt.Errorf("%w (%d files are done; the same command goes on from there)", err, done)
	case err != nil:
		return err
	}
	return s.summary()
}

func signWith(key crypto.Signer) func(context.Context, [32]byte) ([]byte, error) {
	return func(_ context.Context, hash [32]byte) ([]byte, error) { return client.SignHash(rand.Reader, key, hash) }
}

// items are the files of the command line and of the lists.
func (s *signing) items(args []string) iter.Seq[hashfiles.Item] {
	return func(yield func(hashfiles.Item) bool) {
		for item := range hashfiles.Walk(args...) {
			if !yield(item) {
				return
			}
		}
		for _, list := range s.filesFrom {
			for name, err := range namesOf(list) {
				if err != nil {
					yield(hashfiles.Item{Name: list, Err: err})
					return
				}
				for item := range hashfiles.Walk(name) {
					if !yield(item) {
						return
					}
				}
			}
		}
		for _, list := range s.sums {
			for item := range sumsOf(list) {
				if !yield(item) {
					return
				}
			}
		}
	}
}

// open opens a list. - is standard input.
func open(list string) (*os.File, error) {
	if list == "-" {
		return os.Stdin, nil
	}
	f, err := os.Open(list)
	if err != nil {
		return nil, errors.Unwrap(err) // whoever prints it has the name
	}
	return f, nil
}

// namesOf reads names that are ended by zero bytes.
func namesOf(list string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		f, err := open(list)
		if err != nil {
			yield("", err)
			return
		}
		defer f.Close()
		for r := bufio.NewReader(f); ; {
			name, err := r.ReadString(0)
			if name = strings.TrimSuffix(name, "\x00"); name != "" && !yield(name, nil) {
				return
			}
			if err != nil {
				if err != io.EOF {
					yield("", err)
				}
				return
			}
		}
	}
}

// sumsOf reads sums. Their files are not looked at.
func sumsOf(list string) iter.Seq[hashfiles.Item] {
	return func(yield func(hashfiles.Item) bool) {
		f, err := open(list)
		if err != nil {
			yield(hashfiles.Item{Name: list, Err: err})
			return
		}
		defer f.Close()
		for line, err := range sumfile.Read(f) {
			item := hashfiles.Item{Name: line.Name}
			switch {
			case err != nil:
				item = hashfiles.Item{Name: list, Err: err}
			case line.Err != nil:
				item = hashfiles.Item{Name: fmt.Sprintf("%s, line %d", list, line.Number), Err: line.Err}
			case line.Name == "":
				item.Name = line.Hash
				fallthrough
			default:
				hash, _ := hashOf(line.Hash)
				item.Known = &hash
			}
			if !yield(item) {
				return
			}
		}
	}
}

// onlyHash reports what would be signed.
func (s *signing) onlyHash(files iter.Seq[hashfiles.File]) error {
	for f := range files {
		o := bulk.NotRead(f)
		if f.Err == nil {
			o = bulk.Outcome{Name: f.Name, Hash: fmt.Sprintf("%x", f.Hash), Kind: "to be signed"}
			s.counts.Hashed.Add(1)
		}
		if err := s.report(o); err != nil {
			return err
		}
	}
	return nil
}

// report prints an outcome. Files that were simply added are counted.
func (s *signing) report(o bulk.Outcome) error {
	s.kinds[o.Kind]++
	if s.json {
		line := map[string]any{"file": o.Name, "outcome": o.Kind}
		if o.Hash != "" {
			line["hash"] = o.Hash
		}
		if o.Reason != "" {
			line["reason"] = o.Reason
		}
		if o.First != nil {
			line["firstSignedBy"], line["firstSignedAt"] = o.First.Site, o.First.SignedAt
		}
		return json.NewEncoder(s.out).Encode(line)
	}
	text := string(o.Kind)
	switch o.Kind {
	case bulk.Added:
		return nil
	case bulk.SignedBefore:
		text += " at " + o.First.SignedAt.UTC().Format(time.RFC3339)
	case bulk.OtherOwner:
		text = fmt.Sprintf("OWNED BY %s, which signed it first at %s; your signature is kept beside it",
			o.First.Site, o.First.SignedAt.UTC().Format(time.RFC3339))
	case bulk.Skipped:
		text = o.Reason
	default:
		if o.Reason != "" {
			text += ": " + o.Reason
		}
	}
	_, err := fmt.Fprintf(s.out, "%s: %s\n", oneLine(o.Name), text)
	return err
}

// summary says how many files came to what, and is an error unless all are signed first by this site.
func (s *signing) summary() error {
	failed := s.kinds[bulk.BadSignature] + s.kinds[bulk.Refused] + s.kinds[bulk.Unreadable] + s.kinds[bulk.Unknown]
	if s.json {
		if err := json.NewEncoder(s.out).Encode(map[string]any{"summary": s.kinds}); err != nil {
			return err
		}
	} else if !s.quiet && !s.dryRun {
		fmt.Fprintf(s.errs, "added %d, signed before %d, owned by other sites %d, not signed %d\n",
			s.kinds[bulk.Added], s.kinds[bulk.SignedBefore], s.kinds[bulk.OtherOwner], failed)
	}
	switch {
	case failed == 1:
		return errors.New("1 file is not signed")
	case failed > 1:
		return fmt.Errorf("%d files are not signed", failed)
	case s.kinds[bulk.OtherOwner] > 0:
		return exitCode(exitOtherOwner)
	}
	return nil
}

// exitCode ends the program with this code and no message.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// Pauses between two lines of progress.
const (
	progressOnTerminal = 200 * time.Millisecond
	progressElsewhere  = 10 * time.Second
)

// showProgress shows how far everything is until stop is called: on a terminal one line that changes, elsewhere a line
// now and then.
func (s *signing) showProgress(ctx context.Context) (stop func()) {
	if s.quiet {
		return func() {}
	}
	terminal := isTerminal(s.errs)
	every, end := progressElsewhere, "\n"
	if terminal {
		every, end = progressOnTerminal, "\r"
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				if terminal {
					fmt.Fprint(s.errs, "\x1b[K") // the line goes
				}
				return
			case <-tick.C:
				fmt.Fprintf(s.errs, "hashed %d, signed %d, uploads open %d, done %d%s%s",
					s.counts.Hashed.Load(), s.counts.Signed.Load(), s.counts.Uploading.Load(), s.counts.Decided.Load(), map[bool]string{true: "\x1b[K"}[terminal], end)
			}
		}
	}()
	return func() { cancel(); <-done }
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
