package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const serveManual = `Runs the service: the API, the verifiers and the sinks, over an embedded log and an embedded ClickHouse, or over
a Kafka and a ClickHouse that several processes share (--role, --kafka, --clickhouse).

Every setting can be given as a flag, as an environment variable (--max-pairs is COUNTERSIGN_MAX_PAIRS; lists are separated by
commas) or in the YAML file that --config names (max-pairs: 5). A flag wins over the environment, which wins over the file.

The process ends in order at the first SIGTERM or SIGINT, and at once at the second; nothing that was accepted is lost either way.
At SIGHUP it reads --log-level, --tls-cert and --tls-key again, and goes on.`

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long:  serveManual,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hangUps := catchHangUps()
			cfg, err := load(cmd.Flags())
			if err := errors.Join(err, cfg.files()); err != nil {
				return fmt.Errorf("the configuration can't be used:\n%w", err)
			}
			again := func() (*config, error) { return load(cmd.Flags()) }
			return serve(cmd.Context(), cfg, hangUps, again)
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
			return fmt.Errorf("%w: it is no setting%s", err, suggest(c.Flags(), unknown.GetSpecifiedName(), func(name string) string { return "--" + name }))
		}
		return err
	})
	c.Flags().SortFlags = false
	bind(c.Flags())
	recordTexts(c.Flags())
	return c
}
