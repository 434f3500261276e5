package mistake

// The table. A mistake is named in code by its variable; its texts are those of docs/troubleshooting.md.

// Mistake is one way to get a signature wrong. The texts have no full stop at the end; code in them is in backquotes.
type Mistake struct {
	What   string // what was done
	Looks  string // how it comes about, or how such a signature looks
	Remedy string // what to do instead
}

// What was signed.
var (
	lineFeed = &Mistake{"A line feed was signed along with the hash",
		"`echo \"$hash\" | openssl dgst`, a here-string", "`printf %s \"$hash\" | openssl dgst -sha256 -sign KEY`"}
	carriageReturn = &Mistake{"A carriage return and a line feed were signed along with the hash",
		"PowerShell's pipe to a program; a text file of Windows", "write the hash without an end of line: `[IO.File]::WriteAllText(FILE, $hash)`"}
	rawBytes = &Mistake{"The 32 bytes of the hash were signed instead of its text",
		"`xxd -r -p`, hashlib's `digest()`, `MessageDigest.digest()`", "sign the 64 hex digits as text, such as `hexdigest()`"}
	letterCase = &Mistake{"The hash was signed in the other letter case",
		"`Get-FileHash` and .NET write capital letters", "send the hash in the letter case in which it was signed"}
	fileItself = &Mistake{"The file itself was signed, or its hash as if it were the digest",
		"`openssl dgst -sha256 -sign KEY FILE`; `pkeyutl`, `signHash`, `Prehashed`",
		"sign the hash's text as a message, so that it is hashed once more"}
	sumLine = &Mistake{"The whole line of sha256sum was signed",
		"`sha256sum FILE | openssl dgst`", "`sha256sum < FILE | cut -c 1-64 | tr -d '\\n' | openssl dgst -sha256 -sign KEY`"}
	hashedTwice = &Mistake{"The hash's text was hashed once more than it should be",
		"a digest of the text was made, and given to a function that hashes, too", "give the text to the function that signs, or the digest to one that takes digests"}
	otherEncoding = &Mistake{"The hash was signed in UTF-16, in quotes, with a byte-order mark or with a space",
		"`Encoding.Unicode`, `Out-File`, `JSON.stringify`", "sign exactly the 64 hex digits, one byte each"}
	nothing = &Mistake{"Nothing was signed: the input was empty",
		"a variable that isn't set, a pipe whose first command failed", "look at what goes into openssl: it must have 64 bytes"}
	otherText = &Mistake{"The certificate's key signed something else",
		"the signature is of another file, or of this one before it was changed", "make the hash and the signature again, from the same file"}
)

// How it was signed.
var (
	otherDigest = &Mistake{"Another hash function than SHA-256 was used for signing",
		"`openssl dgst -sha1`, `-sha384`, `-sha512`; `SHA1withRSA`, `SHA512withECDSA`", "`openssl dgst -sha256`; `SHA256withRSA`, `SHA256withECDSA`"}
	pss = &Mistake{"RSA-PSS was used instead of PKCS #1 v1.5",
		"`rsa_padding_mode:pss`, `RSASSA-PSS`, `padding.PSS`", "openssl's default; `SHA256withRSA`, `RSASSA-PKCS1-v1_5`, `padding.PKCS1v15`"}
	noDigestInfo = &Mistake{"The signature lacks the name of its hash function (DigestInfo), or has it in another form",
		"`openssl rsautl -sign`; `pkeyutl` without `digest:sha256`; `NONEwithRSA`", "`openssl dgst -sha256 -sign KEY`; `SHA256withRSA`"}
	pairOfNumbers = &Mistake{"The ECDSA signature is r‖s (r||s, IEEE P1363) instead of DER",
		"64, 96 or 132 bytes; WebCrypto, .NET, JWT libraries", "ask for DER: `Rfc3279DerSequence`, `dsaEncoding: 'der'`; or convert it"}
	reversed = &Mistake{"The signature's bytes are in reverse order",
		"`CryptSignHash` of Windows", "turn the bytes around, or use `NCryptSignHash`"}
)

// How the signature is written.
var (
	hexText = &Mistake{"The signature is written in hex instead of base64",
		"only 0-9 and a-f, 512 of them with RSA-2048; `xxd -p`, `dgst -hex`", "`openssl base64 -A`"}
	twice = &Mistake{"The signature is encoded twice",
		"base64 of base64, or base64 of hex", "encode the signature's bytes once"}
	mixed = &Mistake{"The signature's letters are of two alphabets, or something stands around them",
		"base64url whose padding was then written as `_`; spaces, quotes", "`openssl base64 -A | tr -- '+=/' '-_~'`, or base64url as it is"}
	escaped = &Mistake{"The signature was percent-encoded once too often",
		"`%2B`, `%2F`, `%3D` in a body, `%252B` in a URL", "encode it once; with `-`, `_` and `~` it needs no encoding"}
	noText = &Mistake{"The signature is no base64",
		"other characters, or one letter over", "send the signature's bytes in base64, whole"}
)

// Which key signed.
var (
	expired = &Mistake{"The certificate of the key has expired: last year's key",
		"the certificate was renewed with a new key, and the old one goes on signing", "sign with the key of the certificate that the site serves now"}
	notYet = &Mistake{"The certificate of the key is not valid yet",
		"next year's key, or a clock that is wrong", "wait, or sign with the key of the certificate that the site serves now"}
	otherSite = &Mistake{"Another site's key was used",
		"the certificate is for other names", "use the key of this site's certificate, or upload for the other site"}
	unusable = &Mistake{"The certificate's key is of a kind or size that isn't accepted",
		"Ed25519, DSA, P-224, RSA below 2048 bits", "RSA of 2048 to 8192 bits, or ECDSA on P-256, P-384 or P-521"}
	otherKey = &Mistake{"Another key was used than that of the certificate",
		"an old key, another site's, RSA beside ECDSA; a signature that was cut off",
		"compare `openssl pkey -in KEY -pubout` with `openssl x509 -in CERTIFICATE -noout -pubkey`"}
	otherKeyOrText = &Mistake{"Another key was used, or another text was signed: with ECDSA the two look alike",
		"it has the right form, and none of the other mistakes", "compare the keys as for RSA, and make hash and signature again, from the same file"}
)

// All is the table: every mistake that is recognised, in the order in which docs/troubleshooting.md has them.
func All() []*Mistake {
	return []*Mistake{
		lineFeed, carriageReturn, rawBytes, letterCase, fileItself, sumLine, hashedTwice, otherEncoding, nothing, otherText,
		otherDigest, pss, noDigestInfo, pairOfNumbers, reversed,
		hexText, twice, mixed, escaped, noText,
		expired, notYet, otherSite, unusable, otherKey, otherKeyOrText,
	}
}
