// Package hostname says which names can be the host name of a site, once for everybody who takes such names in: the
// API, the records, and the places where certificates come from.
//
// It owns the rule and no state. It promises that a name that passes [Check] is made of lower-case letters, digits,
// hyphens and dots alone, can't leave a folder when it is used as a file's name, and can't be taken for an IP address.
//
// The file hostname.go has the rule which names are host names, domain.go says to which registrable domain a name
// belongs.
//
// It must not know any other package of this module.
package hostname
