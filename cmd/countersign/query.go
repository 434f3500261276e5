package main

// Questions to the ClickHouse of a service. They read, as the analysts' user where the engine is embedded.

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"countersign/sink/store"
)

func queryCommand() *cobra.Command {
	var url, dataDir string
	files := tlsFiles{prefix: "--clickhouse"}
	c := &cobra.Command{
		Use:   "query SQL",
		Short: "Ask the ClickHouse of a running service, and print one value a line",
		Long: `Asks ClickHouse and prints every row's columns by name, one a line. Without --clickhouse it asks the embedded
engine of the service that runs on --data-dir, as the user analyst, who reads the views and has bounds of memory and time.
The views are documented in docs/api.md. It only reads: what writes is refused, and so are FORMAT and INTO OUTFILE.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if url == "" {
				var err error
				if url, err = analystURL(dataDir); err != nil {
					return err
				}
			}
			config := store.Config{URL: url, ReadOnly: true}
			if files.any() {
				warn := func(setting string, err error) { cmd.PrintErrln("countersign: " + setting + ": " + err.Error()) }
				var err error
				if config.TLS, err = files.config(warn); err != nil {
					return err
				}
			}
			db, err := store.Open(cmd.Context(), config)
			if err != nil {
				return err
			}
			defer db.Close()
			n, err := db.Print(cmd.Context(), cmd.OutOrStdout(), args[0])
			if err == nil && n == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "no rows")
			}
			if err != nil && cmd.Context().Err() == nil {
				err, _ = db.Explain(cmd.Context(), err)
			}
			return err
		},
	}
	c.Flags().StringVar(&url, "clickhouse", "", "`URL` of the server")
	c.Flags().StringVar(&files.ca, "clickhouse-ca", "", "PEM `file` of the roots for its certificate; default: the system's")
	c.Flags().StringVar(&files.cert, "clickhouse-cert", "", "PEM `file` with the certificate chain to show to it")
	c.Flags().StringVar(&files.key, "clickhouse-key", "", "PEM `file` with its private key")
	c.MarkFlagsRequiredTogether("clickhouse-cert", "clickhouse-key")
	c.Flags().StringVar(&dataDir, "data-dir", "data", "`folder` of the service")
	return c
}

// analystURL is how analysts reach the embedded engine of the service that runs on a data directory.
func analystURL(dataDir string) (string, error) {
	text, err := os.ReadFile(engineURLFile(dataDir))
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("no service with an embedded ClickHouse runs on --data-dir %s; start one, or give --clickhouse URL", dataDir)
	}
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return first, nil
}
