// Package mistake says why a signature is none: it recognises what people do when they sign for the first time.
//
// It owns the table of mistakes ([All]), which docs/troubleshooting.md, the program's explanations and the page
// /problems/invalid-signature share. It promises that it names a mistake only where the signature is right but for it:
// each finding was verified under one of the certificates, or is certain from the signature's form. It never decides
// what the service accepts.
//
// A signature goes wrong in four independent places: the text in which it is written (reading.go), its form and the
// text that was signed (message.go, rsa.go, ecdsa.go), the hash function, and the key. [Explain] tries all of them
// together and names those that had to be other than they should be.
//
// It takes up to some thousand verifications, so it is for a person who asks, and not for the service's own way.
//
// It must not know Kafka, ClickHouse, HTTP, JSON, records, uploads or the stages.
package mistake
