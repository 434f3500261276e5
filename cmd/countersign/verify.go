package main

// Why a signature is invalid: for whoever signs for the first time.

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"countersign/ingest/jsonstream"
	"countersign/internal/pemfile"
	"countersign/pipeline/certs"
	"countersign/pipeline/mistake"
	"countersign/pipeline/record"
)

const verifyManual = `Checks a signature as the service would, without sending it anywhere. With --explain it says what is wrong with one that
is invalid, where it recognises the mistake: what was signed, how, in which letters, or with which key. docs/troubleshooting.md
has the mistakes that it knows.

The first argument is a file, or its SHA-256 in hex in the letter case in which it is sent. The certificates are those of
--certificate, and then no site is asked; give earlier ones, too, to find out whether an old key was used. Without it, the site
is asked as the service asks it. The exit code is 0 only if the signature is valid.`

// verification is what the flags of verify say.
type verification struct {
	site, signature, roots string
	files, hosts           []string
	explain                bool
	warn                   warning
}

func verifyCommand() *cobra.Command {
	var v verification
	c := &cobra.Command{
		Use:   "verify FILE|HASH --site SITE --signature SIGNATURE",
		Short: "Check a signature, and say why it is invalid",
		Long:  verifyManual,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v.warn = func(setting string, err error) {
				fmt.Fprintf(cmd.ErrOrStderr(), "countersign: %s: left out: %v\n", setting, err)
			}
			return v.run(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	c.Flags().StringVar(&v.site, "site", "", "`host` name of the site")
	c.Flags().StringVar(&v.signature, "signature", "", "the signature's `text`, as it is sent")
	c.Flags().StringArrayVar(&v.files, "certificate", nil, "`file` with certificates, any number of times; then the site is not asked")
	c.Flags().StringVar(&v.roots, "cert-roots", "", "`file` of the roots that the site's certificates are validated against; default: the system's")
	c.Flags().StringArrayVar(&v.hosts, "cert-host", nil, "`site=host:port`: where the site is asked, also at a private address")
	c.Flags().BoolVar(&v.explain, "explain", false, "say what is wrong with an invalid signature")
	for _, name := range []string{"site", "signature"} {
		_ = c.MarkFlagRequired(name) // the flag is there
	}
	return c
}

func (v verification) run(ctx context.Context, out io.Writer, subject string) error {
	site, err := record.ParseSite(v.site)
	if err != nil {
		return fmt.Errorf("--site: %w", err)
	}
	q := mistake.Question{Site: site, Text: v.signature, Now: time.Now()}
	if err := fillIn(&q, subject); err != nil {
		return err
	}
	if signature, ok := jsonstream.DecodeSignature(nil, []byte(v.signature)); ok {
		q.Signature = signature
	}
	if q.Certificates, err = v.certificates(ctx, site); err != nil {
		return err
	}
	answer := mistake.Explain(q)
	if answer.Valid() {
		fmt.Fprintf(out, "valid: %s signed %s with the key of the certificate of %s\n", site, q.Hash, mistake.Name(answer.By))
		return nil
	}
	if !v.explain {
		return errors.New("Invalid signature; --explain says why") //nolint:staticcheck // the API's words
	}
	for _, m := range answer.Mistakes {
		fmt.Fprintf(out, "%s.\n  how it comes about: %s\n  what to do: %s\n", m.What, m.Looks, m.Remedy)
	}
	for _, detail := range answer.Details {
		fmt.Fprintln(out, detail+".")
	}
	if answer.By != nil {
		fmt.Fprintf(out, "It was made with the key of the certificate of %s.\n", mistake.Name(answer.By))
	}
	return errors.New("Invalid signature") //nolint:staticcheck // the API's words
}

// fillIn fills in the hash, and what else is known of a file.
func fillIn(q *mistake.Question, subject string) error {
	file, err := os.Open(subject)
	if errors.Is(err, os.ErrNotExist) {
		if _, _, reason := jsonstream.ParseHash(subject); reason != "" {
			return fmt.Errorf("%q is neither a file nor a hash: there is no such file, and it is %s", subject, reason)
		}
		q.Hash = subject
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	others := make(map[crypto.Hash]hash.Hash)
	all := []io.Writer{sum}
	for _, function := range []crypto.Hash{crypto.SHA1, crypto.SHA384, crypto.SHA512} {
		others[function] = function.New()
		all = append(all, others[function])
	}
	if _, err := io.Copy(io.MultiWriter(all...), file); err != nil {
		return err
	}
	q.Hash = hex.EncodeToString(sum.Sum(nil))
	q.Digests = make(map[crypto.Hash][]byte)
	for function, h := range others {
		q.Digests[function] = h.Sum(nil)
	}
	q.Names = []string{subject, filepath.Base(subject)}
	return nil
}

// certificates are those of the files, or those that the site serves.
func (v verification) certificates(ctx context.Context, site string) (leaves []*x509.Certificate, err error) {
	if len(v.files) == 0 {
		return v.look(ctx, site)
	}
	for _, name := range v.files {
		found, problems, err := pemfile.Certificates(name)
		if err != nil {
			return nil, fmt.Errorf("--certificate: %w", err)
		}
		for _, problem := range problems {
			v.warn("--certificate", problem)
		}
		leaves = append(leaves, leavesOf(found)...)
	}
	return leaves, nil
}

// look asks the site, by the rules of the service.
func (v verification) look(ctx context.Context, site string) (leaves []*x509.Certificate, err error) {
	network := certs.NetworkConfig{Hosts: make(map[string]string)}
	for _, entry := range v.hosts {
		name, address, err := certs.ParseHost(entry)
		if err != nil {
			return nil, fmt.Errorf("--cert-host: %w", err)
		}
		network.Hosts[name] = address
	}
	if v.roots != "" {
		if network.Roots, err = readRoots("--cert-roots", v.roots, v.warn); err != nil {
			return nil, err
		}
	}
	sites, err := certs.New(certs.Config{Network: network})
	if err != nil {
		return nil, err
	}
	defer sites.Close()
	known, err := sites.Look(ctx, site, "", time.Now())
	if err != nil {
		return nil, fmt.Errorf("the certificate can't be had, so that nothing was checked; with --certificate FILE no site is asked: %w", err)
	}
	for _, chain := range known.Chains() {
		leaf, err := chain.Leaf()
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, leaf)
	}
	return leaves, nil
}

// leavesOf leaves out the certificates of authorities, unless there are no others.
func leavesOf(all []*x509.Certificate) []*x509.Certificate {
	isAuthority := func(c *x509.Certificate) bool { return c.IsCA }
	if leaves := slices.DeleteFunc(slices.Clone(all), isAuthority); len(leaves) > 0 {
		return leaves
	}
	return all
}
