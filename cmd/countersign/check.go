package main

// Who signed files, for people and for scripts: the flags, lines and exit codes of sha256sum.

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"countersign/client"
	"countersign/internal/hashfiles"
	"countersign/internal/sumfile"
	"countersign/pipeline/record"
)

const checkManual = `Hashes files, asks who signed them, and prints a line for each. Folders stand for all files below them, a hash of 64
hex digits for a file that is not here, and - for standard input. The files stay where they are.

With --check the arguments are lists as sha256sum writes them. Each file of a list is hashed and must be the one that
the list means, and signed. The exit code is 0 only if all files are signed: by --site, if that is given.`

// checkFlags are the flags of the command.
type checkFlags struct {
	apiFlags
	site                                 string
	lists, quiet, status, strict, ignore bool
	json                                 bool
}

func checkCommand() *cobra.Command {
	var flags checkFlags
	c := &cobra.Command{
		Use:   "check FILE|FOLDER|HASH...",
		Short: "Ask who signed files",
		Long:  checkManual,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := flags.client()
			if err != nil {
				return err
			}
			defer api.Close()
			if flags.site != "" {
				if flags.site, err = record.ParseSite(flags.site); err != nil {
					return fmt.Errorf("--site: %w", err)
				}
			}
			k := &checker{checkFlags: flags, api: api, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
			return k.run(cmd.Context(), args)
		},
	}
	f := c.Flags()
	flags.bind(f)
	f.StringVar(&flags.site, "site", "", "`host` name of the site that must have signed each file, first or not")
	f.BoolVarP(&flags.lists, "check", "c", false, "read sums from lists, and check the files that they name")
	f.BoolVar(&flags.quiet, "quiet", false, "print no line for a file that is well")
	f.BoolVar(&flags.status, "status", false, "print nothing: the exit code says all")
	f.BoolVar(&flags.strict, "strict", false, "with --check: a line that is no sum is a failure")
	f.BoolVar(&flags.ignore, "ignore-missing", false, "with --check: files that are not there don't count")
	f.BoolVar(&flags.json, "json", false, "print a JSON object for each file")
	return c
}

// checked is what is known of one file.
type checked struct {
	Name   string          `json:"file"`
	Status string          `json:"status"` // see the constants
	Reason string          `json:"reason,omitempty"`
	Who    *client.Signers `json:"signers,omitempty"`

	hash [32]byte
}

// Values of checked.Status.
const (
	fileSigned     = "signed"
	fileNotSigned  = "not signed"
	fileOtherSite  = "signed by others" // than --site
	fileChanged    = "changed"          // it is not the one that the list means
	fileUnreadable = "unreadable"
)

// checker is one run of the command.
type checker struct {
	checkFlags
	api       *client.Client
	out, errs io.Writer

	pending                                []checked // hashed, and not asked about
	well, unsigned, changed, unread, noSum int
}

// askedAtOnce is after how many files the service is asked: so often that a person sees progress.
const askedAtOnce = 1000

func (k *checker) run(ctx context.Context, args []string) error {
	items := named(args)
	if k.lists {
		items = k.listed(args)
	}
	for f := range hashfiles.Each(ctx, items) {
		if ctx.Err() != nil {
			break
		}
		if k.note(f); len(k.pending) == askedAtOnce {
			if err := k.ask(ctx); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		fmt.Fprintln(k.errs, "countersign: interrupted")
		return exitCode(exitInterrupted)
	}
	if err := k.ask(ctx); err != nil {
		return err
	}
	return k.summary()
}

// named are the files of the command line. Where there is no file of a name that is a hash, the hash is meant.
func named(args []string) iter.Seq[hashfiles.Item] {
	return func(yield func(hashfiles.Item) bool) {
		for _, arg := range args {
			if hash, ok := hashOf(arg); ok {
				if _, err := os.Lstat(arg); errors.Is(err, fs.ErrNotExist) {
					if !yield(hashfiles.Item{Name: arg, Known: &hash}) {
						return
					}
					continue
				}
			}
			for item := range hashfiles.Walk(arg) {
				if !yield(item) {
					return
				}
			}
		}
	}
}

func hashOf(text string) (hash [32]byte, ok bool) {
	n, err := hex.Decode(hash[:], []byte(text[:min(len(text), 64)]))
	return hash, err == nil && n == len(hash) && len(text) == 64
}

// note adds a file to those that are pending. The tag of one that a list names is the hash that it must have.
func (k *checker) note(f hashfiles.File) {
	c := checked{Name: f.Name, hash: f.Hash}
	want, listed := f.Tag.([32]byte)
	switch {
	case errors.Is(f.Err, hashfiles.ErrSkipped), k.ignore && listed && errors.Is(f.Err, fs.ErrNotExist):
		return
	case f.Err != nil:
		c.Status, c.Reason = fileUnreadable, f.Err.Error()
	case listed && f.Hash != want:
		c.Status = fileChanged
	}
	k.pending = append(k.pending, c)
}

// listed are the files of lists. A line without a name is a hash.
func (k *checker) listed(lists []string) iter.Seq[hashfiles.Item] {
	return func(yield func(hashfiles.Item) bool) {
		for _, list := range lists {
			for e, err := range k.entries(list) {
				hash, _ := hashOf(e.Hash)
				item := hashfiles.Item{Name: e.Name, Tag: hash}
				if err != nil {
					item = hashfiles.Item{Name: list, Err: err}
				} else if e.Name == "" {
					item = hashfiles.Item{Name: e.Hash, Known: &hash}
				}
				if !yield(item) {
					return
				}
			}
		}
	}
}

// entries reads a list. Lines that are no sums are counted.
func (k *checker) entries(list string) iter.Seq2[sumfile.Entry, error] {
	return func(yield func(sumfile.Entry, error) bool) {
		f, err := open(list)
		if err != nil {
			yield(sumfile.Entry{}, err)
			return
		}
		defer f.Close()
		for line, err := range sumfile.Read(f) {
			if line.Err != nil {
				k.noSum++ // nobody else reads it before the files have ended
				if !k.status {
					fmt.Fprintf(k.errs, "countersign: %s: line %d: %v\n", list, line.Number, line.Err)
				}
				continue
			}
			if !yield(line.Entry, err) {
				return
			}
		}
	}
}

// ask asks the service about the files that are pending, and prints what became of them.
func (k *checker) ask(ctx context.Context) error {
	var hashes [][32]byte
	for i := range k.pending {
		if k.pending[i].Status == "" {
			hashes = append(hashes, k.pending[i].hash)
		}
	}
	signers, err := k.api.Check(ctx, hashes)
	if err != nil {
		return err
	}
	for i := range k.pending {
		c := &k.pending[i]
		if c.Status == "" {
			c.Who, signers = &signers[0], signers[1:]
			if err := k.decide(ctx, c); err != nil {
				return err
			}
		}
		if err := k.print(c); err != nil {
			return err
		}
	}
	k.pending = k.pending[:0]
	return nil
}

// decide says whether a file is signed by whom it should be.
func (k *checker) decide(ctx context.Context, c *checked) error {
	c.Status = fileNotSigned
	if !c.Who.Signed {
		return nil
	}
	c.Status = fileSigned
	if k.site == "" {
		return nil
	}
	_, ok := c.Who.By(k.site)
	if !ok && c.Who.AlsoSignedByCount > len(c.Who.AlsoSignedBy) { // a list names some of the others only
		all, err := k.api.Hash(ctx, c.hash)
		if err != nil {
			return err
		}
		_, ok = all.By(k.site)
	}
	if !ok {
		c.Status = fileOtherSite
	}
	return nil
}

func (k *checker) print(c *checked) error {
	switch c.Status {
	case fileSigned:
		k.well++
	case fileChanged:
		k.changed++
	case fileUnreadable:
		k.unread++
	default:
		k.unsigned++
	}
	if k.status || k.quiet && c.Status == fileSigned {
		return nil
	}
	if k.json {
		return json.NewEncoder(k.out).Encode(c)
	}
	_, err := fmt.Fprintf(k.out, "%s: %s\n", oneLine(c.Name), k.verdict(c))
	return err
}

// verdict is what stands behind a file's name.
func (k *checker) verdict(c *checked) string {
	switch c.Status {
	case fileSigned:
		if k.lists {
			return "OK, " + signedBy(c.Who)
		}
		return signedBy(c.Who)
	case fileOtherSite:
		return "NOT SIGNED by " + k.site + ", but " + signedBy(c.Who)
	case fileChanged:
		return "FAILED: it is not the file of the list"
	case fileUnreadable:
		return "FAILED open or read: " + c.Reason
	}
	return "NOT SIGNED"
}

func signedBy(s *client.Signers) string {
	var text strings.Builder
	text.WriteString("signed by " + s.Site + " at " + s.SignedAt.UTC().Format(time.RFC3339))
	for _, also := range s.AlsoSignedBy {
		text.WriteString(", also by " + also.Site)
	}
	if more := s.AlsoSignedByCount - len(s.AlsoSignedBy); more > 0 {
		fmt.Fprintf(&text, " and %d others", more)
	}
	return text.String()
}

// oneLine writes a name so that it can't be taken for two lines, as sha256sum does.
func oneLine(name string) string {
	if !strings.ContainsAny(name, "\n\r\\") {
		return name
	}
	return `\` + strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name)
}

// summary says on standard error what is wrong, and is an error if anything is.
func (k *checker) summary() error {
	var wrong []string
	note := func(n int, one, many string) {
		if n == 1 {
			wrong = append(wrong, "1 "+one)
		} else if n > 1 {
			wrong = append(wrong, fmt.Sprintf("%d %s", n, many))
		}
	}
	note(k.unsigned, "file is not signed as it should be", "files are not signed as they should be")
	note(k.changed, "file is not that of the list", "files are not those of the list")
	note(k.unread, "file could not be read", "files could not be read")
	if k.strict {
		note(k.noSum, "line is no sum", "lines are no sums")
	}
	if len(wrong) == 0 && k.well == 0 {
		wrong = append(wrong, "no file was checked")
	}
	switch {
	case len(wrong) == 0:
		return nil
	case k.status:
		return exitCode(1)
	}
	return errors.New(strings.Join(wrong, ", "))
}
