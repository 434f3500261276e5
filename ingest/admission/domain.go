package admission

// The name that one owner pays for.

import "golang.org/x/net/publicsuffix"

// Domain returns the registrable domain of a site in canonical form: "www.example.co.uk" is of "example.co.uk". A site
// that has none, such as a name without dots or a public suffix itself, is its own.
func Domain(site string) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(site)
	if err != nil {
		return site
	}
	return domain
}
