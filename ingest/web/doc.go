// Package web is what the service shows to people: the page where one drops a file, the description of the API in
// OpenAPI, and what the types of problems mean.
//
// It owns the static files, which are part of the binary, and the policy under which a browser shows them. It promises
// that the page loads nothing from elsewhere, and that a file which someone drops there is not sent anywhere.
//
// web.go has the table of calls, static/ the files.
//
// It must not know fasthttp, uploads, records, Kafka or ClickHouse.
package web
