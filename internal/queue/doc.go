// Package queue hands items from any number of goroutines to one that takes whatever has come since it last looked. So
// batches grow with the load, and nothing waits for a timer.
//
// It owns the items' order. It promises that no item is lost, and that whoever waits for [Queue.Ready] learns of every
// item.
//
// It must not know any other package of this module.
package queue
