// Package pause waits for a time that a context may cut short, and says how long to wait between attempts.
//
// It promises that no wait outlives its context, and that no timer is left behind.
//
// It must not know any other package of this module.
package pause
