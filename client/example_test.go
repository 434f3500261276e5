package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"countersign/client"
)

// Hash and sign files, upload the pairs, wait for the result.
func Example() {
	service := httptest.NewServer(standIn()) // a real one: https://countersign.example.com
	defer service.Close()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "statement.pdf")
	if err := os.WriteFile(file, []byte("a statement"), 0o600); err != nil {
		log.Fatal(err)
	}
	// Really: client.LoadKey("www.example.com.key"), the key of the certificate that the site
	// serves.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}

	hash, err := client.HashFile(file)
	if err != nil {
		log.Fatal(err)
	}
	signature, err := client.SignHash(nil, key, hash)
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.New(service.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	receipt, err := c.Upload(ctx, "www.example.com", []client.Pair{{Hash: hash, Signature: signature}}, client.UploadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	status, err := c.Wait(ctx, receipt.UUID, func(s client.Status) {
		fmt.Printf("%d of %d batches done\n", s.DoneBatch, receipt.Batches)
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d of %d hashes added\n", status.OKHash, receipt.Hashes)
	// Output:
	// 0 of 1 batches done
	// 1 of 1 batches done
	// 1 of 1 hashes added
}

// standIn answers as the service does for one upload of one pair.
func standIn() http.Handler {
	polls := 0
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/asyncsign/{site}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"UUID":"06b0ac02-bb62-4052-b48b-d875e26561f8","Batches":"1","Hashes":"1"}`)
	})
	mux.HandleFunc("GET /api/v1/resultasync/{id}", func(w http.ResponseWriter, r *http.Request) {
		done := min(polls, 1)
		polls++
		fmt.Fprintf(w, `{"waitingBatch":%d,"doneBatch":%d,"okHash":%d}`, 1-done, done, done)
	})
	return mux
}
