package main

// The service that the commands of users call.

import (
	"github.com/spf13/pflag"

	"countersign/client"
)

// apiFlags say where the service is, and whom to trust that it is.
type apiFlags struct{ server, roots string }

func (a *apiFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&a.server, "url", "http://localhost:8080", "`URL` of the service")
	f.StringVar(&a.roots, "roots", "", "PEM `file` of the roots for the service's own certificate; default: the system's")
}

// client makes a client of the service. Whoever calls it closes that.
func (a *apiFlags) client(options ...client.Option) (*client.Client, error) {
	if a.roots != "" {
		options = append(options, client.WithRootsFile(a.roots))
	}
	return client.New(a.server, options...)
}
