package main

// For pairs that were signed elsewhere.

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"countersign/client"
)

const uploadManual = `Uploads a JSON list of pairs, [["hash","signature"],...], and waits for what becomes of them. Without a file it reads
standard input. countersign sign hashes, signs and uploads files.

Prints every pair that was not added and why. The exit code is 0 only if all were added or signed before.`

func uploadCommand() *cobra.Command {
	var service apiFlags
	var site string
	c := &cobra.Command{
		Use:   "upload --site SITE [PAIRS.json]",
		Short: "Upload pairs that were signed elsewhere",
		Long:  uploadManual,
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f := os.Stdin
			if len(args) > 0 {
				var err error
				if f, err = open(args[0]); err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				defer f.Close()
			}
			api, err := service.client()
			if err != nil {
				return err
			}
			defer api.Close()
			receipt, err := api.UploadBody(cmd.Context(), site, f, client.UploadOptions{})
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d pairs accepted as upload %s\n", receipt.Hashes, receipt.UUID)
			status, err := api.Wait(cmd.Context(), receipt.UUID, nil)
			if err != nil {
				return err
			}
			if err := printNotAdded(cmd, api, receipt, status); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "added %d, signed before %d, bad signatures %d, errors %d\n",
				status.OKHash, status.DupHash, status.BadSigHash, status.ErrorHash)
			if failed := status.BadSigHash + status.ErrorHash; failed > 0 {
				return fmt.Errorf("%d of %d pairs were not added", failed, receipt.Hashes)
			}
			return nil
		},
	}
	service.bind(c.Flags())
	c.Flags().StringVar(&site, "site", "", "`host` name of the site whose certificate has the key")
	_ = c.MarkFlagRequired("site") // the flag is there
	return c
}

// printNotAdded prints the pairs that were not added, and why.
func printNotAdded(cmd *cobra.Command, api *client.Client, receipt client.Receipt, status client.Status) error {
	var text strings.Builder
	for batch := 1; batch <= receipt.Batches && status.OKHash < receipt.Hashes; batch++ {
		r, err := api.Batch(cmd.Context(), receipt.UUID, batch)
		if err != nil {
			return err
		}
		text.Reset()
		for _, hash := range r.Duplicate {
			fmt.Fprintf(&text, "%s: signed before\n", hash)
		}
		for _, hash := range r.BadSignature {
			fmt.Fprintf(&text, "%s: the signature does not fit the certificate that the site serves; countersign verify --explain says why\n", hash)
		}
		for hash, reason := range r.Errors {
			fmt.Fprintf(&text, "%s: %s\n", hash, reason)
		}
		if _, err := fmt.Fprint(cmd.OutOrStdout(), text.String()); err != nil {
			return err
		}
	}
	return nil
}
