package main

import (
	"crypto"
	"crypto/rand"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"countersign/client"
)

const uploadManual = `Hashes files, signs the hashes with the private key of the site's certificate, uploads hashes and signatures, and waits
until each is judged. The files and the key stay where they are. Prints every file that was not added and why; the exit code is 0
only if all were added or signed before.`

func uploadCommand() *cobra.Command {
	var server, site, keyFile, roots string
	c := &cobra.Command{
		Use:   "upload --site SITE --key KEY.pem FILE...",
		Short: "Sign files and upload their hashes",
		Long:  uploadManual,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			key, err := client.LoadKey(keyFile)
			if err != nil {
				return err
			}
			var options []client.Option
			if roots != "" {
				options = append(options, client.WithRootsFile(roots))
			}
			api, err := client.New(server, options...)
			if err != nil {
				return err
			}
			defer api.Close()
			names := make(map[string]string) // by hash
			receipt, err := api.UploadSeq(cmd.Context(), site, signed(files, key, names), client.UploadOptions{})
			if err != nil {
				return err
			}
			cmd.Printf("%d files accepted as upload %s\n", receipt.Hashes, receipt.UUID)
			status, err := api.Wait(cmd.Context(), receipt.UUID, nil)
			if err != nil {
				return err
			}
			cmd.Printf("added %d, signed before %d, bad signatures %d, errors %d\n", status.OKHash, status.DupHash, status.BadSigHash, status.ErrorHash)
			return report(cmd, api, receipt, status, names)
		},
	}
	c.Flags().StringVar(&server, "url", "http://localhost:8080", "`URL` of the service")
	c.Flags().StringVar(&site, "site", "", "`host` name of the site whose certificate has the key")
	c.Flags().StringVar(&keyFile, "key", "", "PEM `file` with the private key, RSA or ECDSA")
	c.Flags().StringVar(&roots, "roots", "", "PEM `file` of the roots for the service's own certificate; default: the system's")
	for _, name := range []string{"site", "key"} {
		_ = c.MarkFlagRequired(name) // the flag is there
	}
	return c
}

// signed hashes and signs files one after the other, and notes their names.
func signed(files []string, key crypto.Signer, names map[string]string) iter.Seq2[client.Pair, error] {
	return func(yield func(client.Pair, error) bool) {
		for _, file := range files {
			hash, err := client.HashFile(file)
			var signature []byte
			if err == nil {
				signature, err = client.SignHash(rand.Reader, key, hash)
			}
			names[fmt.Sprintf("%x", hash)] = file
			if !yield(client.Pair{Hash: hash, Signature: signature}, err) || err != nil {
				return
			}
		}
	}
}

// report prints what was not added, and is an error where a file is not signed now.
func report(cmd *cobra.Command, api *client.Client, receipt client.Receipt, status client.Status, names map[string]string) error {
	for batch := 1; batch <= receipt.Batches && status.OKHash < receipt.Hashes; batch++ {
		r, err := api.Batch(cmd.Context(), receipt.UUID, batch)
		if err != nil {
			return err
		}
		for _, hash := range r.Duplicate {
			cmd.Printf("%s: signed before\n", names[hash])
		}
		for _, hash := range r.BadSignature {
			cmd.Printf("%s: the signature does not fit the certificate that the site serves; countersign verify --explain says why\n", names[hash])
		}
		for hash, reason := range r.Errors {
			cmd.Printf("%s: %s\n", names[hash], reason)
		}
	}
	if failed := status.BadSigHash + status.ErrorHash; failed > 0 {
		return fmt.Errorf("%d of %d files were not added", failed, receipt.Hashes)
	}
	return nil
}
