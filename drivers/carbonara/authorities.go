package carbonara

import (
	"crypto/x509"
	"fmt"
	"os"
)

// Authorities reads the certificates, in PEM, that the certificate of a store's server is
// held against; nil, which are the system's, where no file is named.
func Authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("there is no certificate in %s", file)
	}
	return pool, nil
}
