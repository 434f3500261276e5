package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"countersign/bench"
	"countersign/internal/bytesize"
)

const benchManual = `Measures a service, and beside it, in turns, what it is compared with: openssl speed, Go's crypto, and our verifier
alone. The service is a private one, which is started for the session on loopback with the embedded log and engine and removed
afterwards, or with --url one that runs already.

Keys and signed pairs are made once and kept under --cache, as are the results: a table on the terminal, report.json and report.html.

Experiments for --run:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "countersign-bench: "+err.Error())
		os.Exit(1)
	}
}

func command() *cobra.Command {
	cfg := bench.Default()
	limit := bytesize.Size(cfg.DataLimit)
	c := &cobra.Command{
		Use:           "countersign-bench",
		Short:         "Measure a service beside openssl and Go's crypto",
		Long:          benchManual + bench.Experiments(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.DataLimit, cfg.Out, cfg.Command = int64(limit), cmd.OutOrStdout(), os.Args
			_, err := bench.Run(cmd.Context(), cfg)
			return err
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringSliceVar(&cfg.Run, "run", nil, "`experiments` to do; default: those marked above")
	f.BoolVar(&cfg.Quick, "quick", false, "a few seconds of everything, to see that it works; the figures mean nothing")
	f.StringVar(&cfg.URL, "url", "", "`http://host:port` of a running service, which must have been started with --cert-dir <cache>/certs")
	f.StringVar(&cfg.Admin, "admin", "", "its admin `host:port`, to measure memory")
	f.StringVar(&cfg.Binary, "binary", "", "countersign `program` whose private service is measured; default: the one beside this program")
	f.StringVar(&cfg.Against, "against", "", "another countersign `program`: measure both end to end, in turns, and print ratios")
	f.StringArrayVar(&cfg.ServeFlags, "serve-flag", nil, "`flag` for private services, as in --serve-flag=--shards=8; any number of times")
	f.IntVar(&cfg.Pairs, "pairs", cfg.Pairs, "pairs in an upload")
	f.IntVar(&cfg.Concurrency, "concurrency", cfg.Concurrency, "uploads at a time, of sustained and load")
	f.DurationVar(&cfg.Duration, "duration", cfg.Duration, "how long sustained and load last")
	f.StringVar(&cfg.Algorithms, "algorithms", cfg.Algorithms, "of load: `kinds` of keys with weights, as in rsa2048=3,p256=1")
	f.IntVar(&cfg.Sites, "sites", cfg.Sites, "of load: sites for each kind of key")
	f.Float64Var(&cfg.Bad, "bad", cfg.Bad, "of load: share of pairs with a wrong signature, 0 to 1")
	f.Float64Var(&cfg.Duplicates, "duplicates", cfg.Duplicates, "of load: share of pairs that are stored already, 0 to 1")
	f.Float64Var(&cfg.Rate, "rate", cfg.Rate, "of load: uploads a second that arrive whatever the service does; 0: each when one before is done")
	f.StringSliceVar(&cfg.Attacks, "attacks", nil, "of attack: `names` of those to make, each by itself and then together; default: all")
	f.IntVar(&cfg.Warmup, "warmup", cfg.Warmup, "rounds that don't count")
	f.IntVar(&cfg.Rounds, "rounds", cfg.Rounds, "rounds that do")
	f.DurationVar(&cfg.Slice, "slice", cfg.Slice, "how long each verifier alone runs in a round")
	f.IntVar(&cfg.Preload, "preload", cfg.Preload, "of large: hashes stored beforehand")
	f.IntVar(&cfg.PreloadSignature, "preload-signature", cfg.PreloadSignature, "of large: bytes of each one's signature")
	f.StringArrayVar(&cfg.Notes, "note", nil, "`sentence` for the report; any number of times")
	f.StringVar(&cfg.Cache, "cache", cfg.Cache, "`folder` of keys, pairs and results")
	f.Var(&limit, "data-limit", "bytes that one site's signed pairs may take")
	f.DurationVar(&cfg.Limit, "limit", cfg.Limit, "longest time of a session")
	return c
}
