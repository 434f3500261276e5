// Package filelock takes a file for one process at a time. The kernel gives the lock back however its holder ends, so a
// lock is never left behind; the file stays, and says nothing by being there.
//
// It promises never to wait for a lock, and to tell a lock that somebody has from a file system that has no locks.
//
// It must not know any other package of this module.
package filelock
