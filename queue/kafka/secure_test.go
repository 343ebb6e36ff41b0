package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/queue/kafka"
)

// works has a log and its group do what they do.
func works(t *testing.T, config kafka.Config) {
	t.Helper()
	mustAppend(t, open(t, config, 2), 0, 0, 3)
	eventually(t, 2, join(t, config, 2, 1))
}

// refused has a log not open, and say why without the password.
func refused(t *testing.T, config kafka.Config, why string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	l, err := tryOpen(ctx, t, config, 2)
	if err == nil {
		l.Close()
	}
	if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "secret") {
		t.Errorf("opens with %v, want %q", err, why)
	}
}

// Log and group log in, however the brokers want it.
func TestLogin(t *testing.T) {
	for method, mechanism := range map[string]func(password string) (sasl.Mechanism, error){
		"PLAIN": func(password string) (sasl.Mechanism, error) {
			return plain.Mechanism{Username: "millrace", Password: password}, nil
		},
		"SCRAM-SHA-256": func(password string) (sasl.Mechanism, error) {
			return scram.Mechanism(scram.SHA256, "millrace", password)
		},
		"SCRAM-SHA-512": func(password string) (sasl.Mechanism, error) {
			return scram.Mechanism(scram.SHA512, "millrace", password)
		},
	} {
		t.Run(method, func(t *testing.T) {
			_, config := fakeCluster(t, kfake.EnableSASL(), kfake.Superuser(method, "millrace", "secret"))
			var err error
			if config.SASL, err = mechanism("secret"); err != nil {
				t.Fatal(err)
			}
			works(t, config)
			if config.SASL, err = mechanism("secretly"); err != nil {
				t.Fatal(err)
			}
			refused(t, config, "cannot open the log on Kafka, topic measures") // kfake hangs up without a word
		})
	}
}

// Everything goes through TLS, and brokers whose certificate nobody vouches for get nothing.
func TestTLS(t *testing.T) {
	site := httptest.NewTLSServer(nil) // for its certificate
	defer site.Close()
	_, config := fakeCluster(t, kfake.TLS(&tls.Config{Certificates: site.TLS.Certificates, MinVersion: tls.VersionTLS12}))
	trusted := x509.NewCertPool()
	trusted.AddCert(site.Certificate())
	config.TLS = &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}
	works(t, config)
	config.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	refused(t, config, "certificate")
}
