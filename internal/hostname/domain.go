package hostname

// Who registered a name: the part that one owner answers for, as far as the Public Suffix List tells.

import "golang.org/x/net/publicsuffix"

// Domain is the registrable domain of a name: example.co.uk for www.example.co.uk, alice.github.io for
// www.alice.github.io. A name that has none, such as localhost or a public suffix itself, is its own.
func Domain(name string) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return name
	}
	return domain
}
