// Command flamegraph draws a CPU profile as a flame graph in SVG: stacks grow upwards, the width of a box is its share
// of the time. It reads what `go tool pprof -traces PROFILE` prints:
//
//	go tool pprof -traces cpu.pb.gz | go run ./scripts/flamegraph 'a title' > flame.svg
//
// It must not know any other package of this module.
package main
