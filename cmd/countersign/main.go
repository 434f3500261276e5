package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"countersign/sink/store/engine"
)

func main() { os.Exit(run(os.Args[1:])) }

const (
	endsWithin      = 2 * time.Second // of a signal, for commands but serve
	exitInterrupted = 130             // as shells have it for Ctrl-C
)

// run is the program; it returns the exit code.
func run(args []string) int {
	if len(args) > 0 && args[0] == engine.ChildArg {
		return engine.Main(args[1:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once, which is safe by I1 and I5
		if len(args) > 0 && args[0] != "serve" {
			// The other commands may hang where nothing wakes them, such as in opening a pipe that nobody writes to.
			time.AfterFunc(endsWithin, func() { os.Exit(exitInterrupted) })
		}
	}()
	root := &cobra.Command{
		Use:           "countersign",
		Short:         "Checks signatures of file hashes against the certificates that sites serve, and keeps who signed what first",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionText(),
	}
	root.SetVersionTemplate("{{.Version}}")
	root.AddCommand(serveCommand(), signCommand(), uploadCommand(), checkCommand(), verifyCommand(), queryCommand(), versionCommand())
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "countersign: "+err.Error())
	}
	return 1
}
