package store

// Who signed a hash, as callers ask: the owner's key is looked up in owners, and leads to the row of signatures.

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// LetterCase is the case of the hexadecimal text that was signed.
type LetterCase int8

// The values of column upper.
const (
	UnknownCase LetterCase = -1 // the row is from before migration 6
	LowerCase   LetterCase = 0
	UpperCase   LetterCase = 1
)

func caseOf(upper bool) LetterCase {
	if upper {
		return UpperCase
	}
	return LowerCase
}

// SignedHash is who owns a hash, with the signature.
type SignedHash struct {
	Upload      uuid.UUID
	Position    uint32 // index in the upload, from 0
	Site        string
	SignedAt    int64 // Unix milliseconds
	Algorithm   string
	Signature   []byte
	Certificate [32]byte // fingerprint of the leaf
	Case        LetterCase
}

// signedColumns are those of a SignedHash, with its hash, as scanSigned reads them. signerColumns leave the signature
// out, which is nearly all that a row takes to read.
const (
	signedColumns = "hash, upload, position, site, signed_at, algorithm, signature, certificate, upper"
	signerColumns = "hash, upload, position, site, signed_at, algorithm, '' AS none, certificate, upper"
)

func scanSigned(rows driver.Rows) (hash [32]byte, s SignedHash, err error) {
	var h []byte
	var letters int8
	err = rows.Scan(&h, &s.Upload, &s.Position, &s.Site, &s.SignedAt, &s.Algorithm, &s.Signature, &s.Certificate, &letters)
	if err == nil {
		hash, s.Case = [32]byte(h), LetterCase(letters)
	}
	return hash, s, err
}

// whereHash is the condition that hash is one of some, and the context that a query with it needs.
func whereHash(ctx context.Context, some share[[32]byte]) (context.Context, string, error) {
	if len(some.keys) == 1 { // nearly always: without a table it is faster
		return ctx, "hash = " + literal(some.keys[0][:]) + some.only, nil
	}
	ctx, err := withWanted(ctx, "FixedString(32)", views(some.keys))
	return ctx, "hash IN (SELECT key FROM wanted)" + some.only, err
}

// Hashes returns who signed each of the hashes. Hashes that nobody signed are left out. It is a read of callers: bound
// the number of hashes, 10,000 come to some 5 MB.
func (db *DB) Hashes(ctx context.Context, hashes [][32]byte) (map[[32]byte]SignedHash, error) {
	return db.ownersOf(ctx, "look up hashes", signedColumns, hashes)
}

// Signers are the sites that signed a hash, without their signatures.
type Signers struct {
	Owner SignedHash
	Also  CoSigners
}

// MostNamed is how many sites beside the owner's are named in Signers: the earliest.
const MostNamed = 10

// Signers returns who signed each of the hashes, whether they own it or not. Hashes that nobody signed are left out. It
// is a read of callers: bound the number of hashes, 10,000 come to some 3 MB.
func (db *DB) Signers(ctx context.Context, hashes [][32]byte) (map[[32]byte]Signers, error) {
	var owners map[[32]byte]SignedHash
	var also map[[32]byte]CoSigners
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		owners, err = db.ownersOf(ctx, "look up signers", signerColumns, hashes)
		return err
	})
	both.Go(func() (err error) {
		also, err = db.coSigners(ctx, signerColumns, MostNamed, hashes)
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	found := make(map[[32]byte]Signers, len(owners))
	for hash, owner := range owners {
		found[hash] = Signers{owner, also[hash]}
	}
	return found, nil
}

func (db *DB) ownersOf(ctx context.Context, what, columns string, hashes [][32]byte) (map[[32]byte]SignedHash, error) {
	found := make(map[[32]byte]SignedHash, len(hashes))
	for _, some := range byPlace(db.layout(), hashes, hashBytes, "hash") {
		if err := db.addOwners(ctx, what, columns, some, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (db *DB) addOwners(ctx context.Context, what, columns string, some share[[32]byte], found map[[32]byte]SignedHash) error {
	ctx, where, err := whereHash(ctx, some)
	if err != nil {
		return fmt.Errorf("clickhouse: %s: %w", what, err)
	}
	const key = "site, signed_at, upload, position"
	query := "SELECT " + columns + " FROM signatures WHERE (" + key + ") IN (SELECT " + key + " FROM owners WHERE " + where + ")" + some.only
	if !db.moved.Load() {
		query += " UNION ALL SELECT " + columns + " FROM signed_hashes WHERE " + where
	}
	return db.readAll(ctx, what, query, func(rows driver.Rows) error {
		hash, s, err := scanSigned(rows)
		// A replay of a row from before migration 6 knows the case, and is the same row otherwise.
		if was, there := found[hash]; err == nil && (!there || was.Case == UnknownCase) {
			found[hash] = s
		}
		return err
	})
}
