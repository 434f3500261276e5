// Package fdpass hands connected sockets from one process to another over a Unix socket.
//
// A server that only one process can reach, because it listens in a network namespace of its own, is so used by others:
// the process inside dials, and passes the connected socket out. No byte of the connection is copied.
//
// It owns the Unix socket's file, and the few bytes that are said on it. It promises that whoever receives a connection
// may die at any time: the process that passed it keeps it open, and then ends it in order. The server sees the end of
// a stream, and never a reset.
//
// Files: socket.go (the Unix socket's address), serve.go (the side that passes), dial.go (the side that receives).
//
// It must not know any other package of this module.
package fdpass
