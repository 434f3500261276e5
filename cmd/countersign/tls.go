package main

// TLS towards Kafka and ClickHouse: whom to trust, and the certificate to show.

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"countersign/internal/pemfile"
)

// tlsFiles names the files of connections to one kind of server. Empty: none.
type tlsFiles struct {
	prefix        string // of the flags, such as --kafka
	ca, cert, key string
}

func (f tlsFiles) any() bool { return f.ca != "" || f.cert != "" || f.key != "" }

// config makes the configuration of a client. warn gets which certificates in the files are left out. The client's
// certificate is read again for each connection, because such certificates are often renewed after hours; a pair that
// can't be read then leaves the previous one in use, and warn gets why.
func (f tlsFiles) config(warn warning) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if f.ca != "" {
		if c.RootCAs, err = readRoots(f.prefix+"-ca", f.ca, warn); err != nil {
			return nil, err
		}
	}
	if f.cert == "" {
		return c, nil
	}
	first, problems, err := pemfile.Pair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("%s-cert and %[1]s-key: %w", f.prefix, err)
	}
	for _, problem := range problems {
		warn(f.prefix+"-cert", problem)
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, _, err := pemfile.Pair(f.cert, f.key)
		if err != nil {
			warn(f.prefix+"-cert", fmt.Errorf("the files can't be read again, so that the certificate of the start stays in use: %w", err))
			return &first, nil
		}
		return &pair, nil
	}
	return c, nil
}

// readRoots reads the authorities of a flag. warn gets which are left out.
func readRoots(flag, file string, warn warning) (*x509.CertPool, error) {
	roots, problems, err := pemfile.Roots(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	for _, problem := range problems {
		warn(flag, problem)
	}
	return roots, nil
}

// warning tells somebody what of a setting's file is not used.
type warning func(setting string, err error)

// warn is a warning to the log.
func (p *process) warn(setting string, err error) {
	p.log.Warn("a file of certificates has something that can't be read, and is used without it", "setting", setting, "error", err)
}
