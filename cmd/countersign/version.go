package main

// What this program is: the version and commit it was built from, and the engine that it embeds.

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"countersign/sink/store/engine"
)

// Set with -ldflags "-X main.version=..." where the build doesn't see the repository, as in the Dockerfile. Elsewhere
// go build notes the same by itself.
var version, commit, date string

const unknown = "unknown"

// build describes a program. Each field that isn't known is "unknown".
type build struct {
	version string // the module's, v1.2.3 or a pseudo-version; "(devel)" where go build was told not to look at the repository
	commit  string // 40 hex digits, with +dirty if files were changed
	date    string // of the commit, RFC 3339, UTC
}

// describe says what the program is: what the linker was given, else what go build noted.
func describe(linked build, info *debug.BuildInfo) build {
	noted := build{version: info.Main.Version}
	modified := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			noted.commit = s.Value
		case "vcs.time":
			noted.date = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+dirty"
			}
		}
	}
	if noted.commit != "" {
		noted.commit += modified
	}
	return build{
		version: cmp.Or(linked.version, noted.version, unknown),
		commit:  cmp.Or(linked.commit, noted.commit, unknown),
		date:    cmp.Or(linked.date, noted.date, unknown),
	}
}

// thisBuild describes this program.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	return describe(build{version, commit, date}, info)
}

// buildInfo is the metric that says what the program is: 1, with the rest in its labels.
func buildInfo() prometheus.Collector {
	b := thisBuild()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "countersign_build_info", Help: "1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": b.version, "commit": b.commit, "go": runtime.Version(), "engine": engine.Version},
	}, func() float64 { return 1 })
}

// versionText is what `countersign version` prints: a name and a value a line, for people and for sed.
func versionText() string {
	b := thisBuild()
	return fmt.Sprintf("version: %s\ncommit: %s\ndate: %s\ngo: %s %s/%s\nengine: %s\n",
		b.version, b.commit, b.date, runtime.Version(), runtime.GOOS, runtime.GOARCH, engine.Version)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit and its date, Go's version and the embedded engine's",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), versionText()) },
	}
}
