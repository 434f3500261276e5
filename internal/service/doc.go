// Package service runs `countersign serve` as a child process and says when it is ready and where it listens. The
// end-to-end tests, the load generator and the demo start their services with it; the program itself has no use for it.
//
// It owns the process from its start to its end: whoever gets a [Process] must call [Process.Stop] or [Process.Kill].
// It promises that, on Linux, the child ends when the process that started it dies, and that an error about the child
// holds the last lines that it logged.
//
// Files: service.go starts and stops, log.go reads what the child logs, child_linux.go ties it to its parent.
//
// It must not know any other package of this module.
package service
