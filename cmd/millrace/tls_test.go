package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/testservers"
)

// With a certificate HTTPS is served, and the commands that read the same settings
// find it and trust it.
func TestServeTLS(t *testing.T) {
	cert, key := certificate(t)
	settings := []string{"MILLRACE_API_TLS_CERT=" + cert, "MILLRACE_API_TLS_KEY=" + key,
		fmt.Sprintf("MILLRACE_API_LISTEN=127.0.0.1:%d", testservers.Port(t)), "MILLRACE_DATA_DIR=" + t.TempDir()}
	ctx, stop := context.WithCancel(t.Context())
	log := new(output)
	exited := make(chan int, 1)
	go func() { exited <- run(ctx, []string{"serve"}, settings, io.Discard, log) }()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
		out, errOut, code := command(t, settings, "status")
		if code == 0 {
			if !strings.Contains(out, "everything that was accepted has been applied") {
				t.Errorf("%s", out)
			}
			break
		}
		if !strings.Contains(errOut, "connection refused") || time.Now().After(deadline) {
			t.Fatalf("%s\n%s", errOut, log)
		}
	}
	if _, errOut, code := command(t, settings[2:], "status"); code != 1 ||
		!strings.Contains(errOut, "Client sent an HTTP request to an HTTPS server") {
		t.Errorf("without TLS: status %d, %s", code, errOut)
	}
	stop()
	if code := <-exited; code != 0 {
		t.Errorf("status %d\n%s", code, log)
	}
}

// certificate makes a certificate that signs itself, and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		var b bytes.Buffer
		if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}
