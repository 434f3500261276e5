// Command countersign is the service and its command-line client. It binds flags and wires packages; what they do is in
// the packages.
//
// It owns the settings and their names, the order in which the parts start and stop, and the policy of the log's
// topics. It promises that all mistakes in the settings are reported together, and that a first SIGTERM ends it in
// order and a second one at once, which loses nothing (I1, I5), and that SIGHUP never ends it.
//
// Files: main.go has the commands; serve.go and config.go are what `countersign serve` can be told; lifecycle.go starts
// the parts and stops them, signals.go reads settings again, admin.go, store.go, log.go with topics.go, and stages.go
// with drain.go; upload.go, verify.go, query.go and version.go are the other commands. The tests are end to end: harness_test.go
// runs the program as processes.
//
// It must not know fasthttp or signatures.
package main
