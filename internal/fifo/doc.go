// Package fifo is a map with a bound: the key that came first leaves first.
//
// It owns the keys' order. It promises that its memory has the bound that it was made with.
//
// It must not know any other package of this module.
package fifo
