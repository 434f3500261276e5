// Package logtest is what the tests of the log share: contexts and loggers for a test, topics and producers that end
// with it, and another client, kafka-go's own, to see what is on the broker.
//
// It owns nothing that runs longer than the test which it was given.
//
// It promises that everything it starts ends with the test, and that its waits are long enough for a machine that is
// busy with something else: a test that fails because of a wait has found something.
//
// Its files: test.go is about tests, client.go about clients of pipeline/log, broker.go about what the brokers hold.
//
// It must not know ClickHouse, HTTP, JSON, records, certificates, signatures or the stages.
package logtest
