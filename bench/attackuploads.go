package bench

// Attacks with uploads that look like any other: for sites that never answer, for a thousand sites at once, and the
// same hashes again.

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"countersign/testsite"
)

// postWorkers is how many small uploads of an attack are under way at most.
const postWorkers = 64

// silentPosts is the attack with a pair for each site that never answers. They are spread over nine tenths of the time
// of an attack.
func silentPosts(names []string, during time.Duration) attack {
	return attack{
		name: "silent", title: number(float64(len(names))) + " posts for sites that never answer",
		start: func(ctx context.Context, f *front) {
			rate := float64(len(names)) / (0.9 * during.Seconds())
			f.paced(ctx, len(names), rate, postWorkers, func(ctx context.Context, c *conn, i int) {
				f.post(ctx, c, plain(names[i], junkPairs(1, 256), func(got counts) bool { return got == counts{Errors: 1} }))
			})
		},
	}
}

// validPosts is the attack with an upload for each of many sites, all at once, and again in every quarter of the time.
func validPosts(sites []*testsite.Site, during time.Duration) attack {
	const rounds, pairs, rate = 4, 5, 2000.0
	return attack{
		name: "valid", title: number(float64(len(sites))) + " valid sites at once",
		start: func(ctx context.Context, f *front) {
			f.group.Go(func() {
				tick := time.NewTicker(during / rounds)
				defer tick.Stop()
				for range rounds {
					f.paced(ctx, len(sites), rate, postWorkers, func(ctx context.Context, c *conn, i int) {
						f.post(ctx, c, plain(sites[i].Name, signedPairs(sites[i], pairs), func(got counts) bool { return got == counts{OK: pairs} }))
					})
					select {
					case <-ctx.Done():
						return
					case <-tick.C:
					}
				}
			})
		},
	}
}

// duplicates is the attack with pairs that are stored already: all of them once in the time of an attack.
func duplicates(stored []*body, during time.Duration) attack {
	total := 0
	for _, b := range stored {
		total += b.want.pairs()
	}
	return attack{
		name: "duplicates", title: "duplicates of " + number(float64(total)) + " stored hashes",
		start: func(ctx context.Context, f *front) {
			f.paced(ctx, len(stored), float64(len(stored))/during.Seconds(), 4, func(ctx context.Context, c *conn, i int) {
				b := stored[i].again()
				f.post(ctx, c, &posted{
					site: b.site, content: func() io.WriterTo { return b }, wire: b.size(), size: b.size(),
					right: func(got counts) bool { return got == b.want },
				})
			})
		},
	}
}

// randomHash is nobody's.
func randomHash() (hash [32]byte) {
	_, _ = rand.Read(hash[:]) // never fails
	return hash
}

// junkPairs is a list of n pairs of random hashes with random signatures of so many bytes.
func junkPairs(n, signature int) []byte {
	text := []byte{'['}
	junk := make([]byte, signature)
	for range n {
		_, _ = rand.Read(junk)
		text = appendPair(text, randomHash(), junk)
	}
	return append(text, ']')
}

// signedPairs is a list of n new pairs of a site.
func signedPairs(site *testsite.Site, n int) []byte {
	text := []byte{'['}
	for range n {
		hash := randomHash()
		text = appendPair(text, hash, site.SignECDSA(hash, false))
	}
	return append(text, ']')
}

// appendPair appends a pair to a list that is "[" or has pairs.
func appendPair(text []byte, hash [32]byte, signature []byte) []byte {
	if len(text) > 1 {
		text = append(text, ',')
	}
	return fmt.Appendf(text, `["%s","%s"]`, hexText(hash), encoding().EncodeToString(signature))
}
