package main

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
	c := &cobra.Command{
		Use:   "query SQL",
		Short: "Ask the ClickHouse of a running service, and print one value a line",
		Long: `Asks ClickHouse and prints every row's columns by name, one a line. Without --clickhouse it asks the embedded
engine of the service that runs on --data-dir. The views for analysts are documented in docs/api.md.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if url == "" {
				text, err := os.ReadFile(engineURLFile(dataDir))
				if errors.Is(err, os.ErrNotExist) {
					return fmt.Errorf("no service with an embedded ClickHouse runs on --data-dir %s; start one, or give --clickhouse URL", dataDir)
				}
				if err != nil {
					return err
				}
				url = strings.TrimSpace(string(text))
			}
			db, err := store.Open(cmd.Context(), store.Config{URL: url})
			if err != nil {
				return err
			}
			defer db.Close()
			return db.Print(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	c.Flags().StringVar(&url, "clickhouse", "", "`URL` of the server")
	c.Flags().StringVar(&dataDir, "data-dir", "data", "`folder` of the service")
	return c
}
