package s3store_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"millrace/drivers/carbonara"
	"millrace/drivers/carbonara/s3store"
	"millrace/testservers"
	"millrace/testservers/faultproxy"
)

const manifest = "sack/3/manifest.json"

// What becomes of a swap, and what the caller is told.
func TestSwapOutcomes(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			c, proxy := proxied(t, start(t))
			c.Timeout = time.Minute
			s := open(t, c)
			c.Timeout = time.Second
			hasty := open(t, c)
			version, err := s.Swap(t.Context(), manifest, "", []byte("first"), nil)
			if err != nil {
				t.Fatal(err)
			}
			const (
				succeeds = iota
				changed
				unknown
			)
			puts := func(r *http.Request) bool { return r.Method == http.MethodPut }
			f := func(what string, fault faultproxy.Fault, want int, written bool) {
				t.Helper()
				s := s
				if fault.Kind == faultproxy.Hang {
					s = hasty
				}
				fault.Match, fault.Many = puts, 1
				proxy.Inject(fault)
				next, err := s.Swap(t.Context(), manifest, version, []byte(what), nil)
				if proxy.Clear() != 1 {
					t.Errorf("%s: not hit once", what)
				}
				got := unknown
				switch {
				case err == nil:
					got = succeeds
				case errors.Is(err, carbonara.ErrChanged):
					got = changed
				}
				now, readErr := s.Read(t.Context(), manifest, "", nil)
				if readErr != nil {
					t.Fatal(readErr)
				}
				if got != want || (string(now.Data[0]) == what) != written || got == succeeds && next != now.Version {
					t.Errorf("%s: outcome %d (%v), and %q is there; want outcome %d", what, got, err, now.Data[0], want)
				}
				version = now.Version
			}
			f("repeated below us", faultproxy.Fault{Kind: faultproxy.Repeat}, succeeds, true)
			f("the answer lost", faultproxy.Fault{Kind: faultproxy.Lose}, unknown, true)
			f("500 after all", faultproxy.Fault{Kind: faultproxy.RefuseDone, Status: 500}, unknown, true)
			f("503", faultproxy.Fault{Kind: faultproxy.Refuse}, unknown, false)
			f("no answer", faultproxy.Fault{Kind: faultproxy.Hang}, unknown, false)
			f("409, not done", faultproxy.Fault{Kind: faultproxy.Refuse, Status: 409}, unknown, false)
			f("409, done", faultproxy.Fault{Kind: faultproxy.RefuseDone, Status: 409}, succeeds, true)
			f("412, done", faultproxy.Fault{Kind: faultproxy.RefuseDone, Status: 412}, succeeds, true)
			f("412, not done, nothing changed", faultproxy.Fault{Kind: faultproxy.Refuse, Status: 412}, unknown, false)
			f("the request damaged", faultproxy.Fault{Kind: faultproxy.FlipRequest}, unknown, false)

			// Somebody else was faster, on an object that is there and on one that isn't.
			stale := version
			if version, err = s.Swap(t.Context(), manifest, version, []byte("somebody else"), nil); err != nil {
				t.Fatal(err)
			}
			for _, at := range []string{manifest, "sack/4/manifest.json"} {
				if _, err := s.Swap(t.Context(), at, stale, []byte("too late"), nil); !errors.Is(err, carbonara.ErrChanged) {
					t.Errorf("Swap of %s from an old version: %v", at, err)
				}
			}

			// A whole object that was damaged on its way is no answer.
			// again and again: once may be a torn answer, and is asked for again
			proxy.Inject(faultproxy.Fault{Kind: faultproxy.Flip})
			if got, err := s.Read(t.Context(), manifest, "", nil); err == nil {
				t.Errorf("Read of a damaged answer: %q", got.Data[0])
			}
		})
	}
}

// The bucket that isn't there is no object that isn't.
func TestNoBucket(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			c := configOf(t, start(t))
			c.Bucket = "none-such"
			s := open(t, c)
			_, swap := s.Swap(t.Context(), manifest, "some", []byte("x"), nil)
			_, read := s.Read(t.Context(), manifest, "", nil)
			for what, err := range map[string]error{"Swap": swap, "Read": read, "Probe": s.Probe(t.Context())} {
				if err == nil || errors.Is(err, carbonara.ErrChanged) || errors.Is(err, carbonara.ErrNotFound) ||
					errors.Is(err, s3store.ErrUnsafe) || !strings.Contains(err.Error(), "there is no bucket none-such") {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// Checksums of the SDK, as on AWS, work too; a wrong key is said, and no secret.
func TestChecksumAndKeys(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			c := configOf(t, start(t))
			c.Checksum = "crc32c"
			s := open(t, c)
			if err := s.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.SecretKey = "hunter2hunter2"
			err := open(t, c).Put(t.Context(), "sack/3/x", []byte("x"))
			if err == nil || !strings.Contains(err.Error(), "secret key is wrong") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a wrong secret: %v", err)
			}
		})
	}
}

// An endpoint whose certificate the system doesn't trust is trusted by that of its authority, and
// what is missing is said else.
func TestOwnAuthority(t *testing.T) {
	c := configOf(t, testservers.VersityGW(t))
	behind, err := url.Parse(c.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(behind)
		r.Out.Host = r.In.Host // it is signed
	}})
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.StartTLS()
	defer front.Close()
	c.Endpoint = front.URL
	if err := open(t, c).Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "storage.s3.ca_file") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	if err := os.WriteFile(c.CAFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, c).Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// What the credentials may not do, or no more, is said in words.
func TestDenied(t *testing.T) {
	c, proxy := proxied(t, testservers.VersityGW(t))
	s := open(t, c)
	for code, says := range map[string]string{"AccessDenied": "the access key may not do this in " + c.Bucket,
		"ExpiredToken": "the credentials have expired"} {
		proxy.Inject(faultproxy.Fault{Kind: faultproxy.Refuse, Status: 403, Many: 1,
			Body: "<Error><Code>" + code + "</Code><Message>x</Message></Error>"})
		if err := s.Put(t.Context(), "sack/3/x", nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// A clock that is another than the server's is said once.
func TestClockSkew(t *testing.T) {
	server := testservers.VersityGW(t)
	var said bytes.Buffer
	c, proxy := proxied(t, server)
	s, err := s3store.Open(t.Context(), c, slog.New(slog.NewTextHandler(&said, nil)), noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	early := http.Header{"Date": {time.Now().Add(-2 * time.Hour).UTC().Format(http.TimeFormat)}}
	proxy.Inject(faultproxy.Fault{Kind: faultproxy.Refuse, Status: 403, Header: early, Many: 2,
		Body: "<Error><Code>RequestTimeTooSkewed</Code><Message>x</Message></Error>"})
	for range 2 {
		if err := s.Put(t.Context(), "sack/3/x", nil); err == nil || !strings.Contains(err.Error(), "too far apart") {
			t.Errorf("Put: %v", err)
		}
	}
	if n := strings.Count(said.String(), "clock"); n != 1 || !strings.Contains(said.String(), "ahead=2h") {
		t.Errorf("the log speaks of it %d times:\n%s", n, said.String())
	}
}

// What is paid for is counted by kind: no HEAD, one request for each verb, and one for ranges
// that lie near each other.
func TestRequestsAreCounted(t *testing.T) {
	server := testservers.VersityGW(t)
	reader := sdkmetric.NewManualReader()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("")
	s, err := s3store.Open(t.Context(), configOf(t, server), slog.New(slog.DiscardHandler), meter)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Put(t.Context(), "sack/3/x", make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	version, err := s.Swap(t.Context(), manifest, "", []byte("one"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(t.Context(), "sack/3/x", "", []carbonara.Range{{Off: 0, Len: 10},
		{Off: 500, Len: 10}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(t.Context(), manifest, version, nil); !errors.Is(err, carbonara.ErrUnchanged) {
		t.Fatal(err)
	}
	if _, err := s.List(t.Context(), "sack/3/"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), []string{"sack/3/x", "sack/3/y"}); err != nil {
		t.Fatal(err)
	}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, m := range all.ScopeMetrics[0].Metrics {
		for _, point := range m.Data.(metricdata.Sum[int64]).DataPoints {
			kind, _ := point.Attributes.Value(attribute.Key("kind"))
			got[m.Name+" "+kind.AsString()] += point.Value
		}
	}
	for kind, want := range map[string]int64{"put": 2, "get": 2, "list": 1, "delete": 1, "head": 0} {
		if n := got["millrace.store.requests "+kind]; n != want {
			t.Errorf("%d requests of kind %s, want %d", n, kind, want)
		}
	}
	if sent := got["millrace.store.request.bytes put"]; sent != 1003 {
		t.Errorf("%d bytes were put", sent)
	}
}

// Encryption and storage class go with every object, and what was encrypted is read and
// swapped as anything else: its ETag may look like an MD5 of it and be none.
func TestEncryptionAndStorageClass(t *testing.T) {
	server := testservers.MinIO(t)
	f := func(encryption, key, class string) {
		t.Helper()
		c, proxy := proxied(t, server)
		c.Encryption, c.KMSKey, c.StorageClass = encryption, key, class
		var mu sync.Mutex
		puts := 0
		proxy.Decide(func(r *http.Request) *faultproxy.Fault {
			mu.Lock()
			defer mu.Unlock()
			if r.Method != http.MethodPut {
				return nil
			}
			puts++
			for name, want := range map[string]string{
				"X-Amz-Server-Side-Encryption": encryption, "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": key,
				"X-Amz-Storage-Class": class,
			} {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			return nil
		})
		s := open(t, c)
		name, data := "sack/3/encrypted"+encryption+class+".parquet", []byte("a segment")
		if err := s.Put(t.Context(), name, data); err != nil {
			t.Fatal(err)
		}
		swapped := "sack/3/manifest" + encryption + class + ".json"
		version, err := s.Swap(t.Context(), swapped, "", []byte("first"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Swap(t.Context(), swapped, version, data, nil); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{name, swapped} {
			got, err := s.Read(t.Context(), name, "", nil)
			if err != nil || !bytes.Equal(got.Data[0], data) {
				t.Errorf("%s with %q: %v", name, encryption, err)
			}
			got, err = s.Read(t.Context(), name, "", []carbonara.Range{{Off: -7, Len: 7}})
			if err != nil || string(got.Data[0]) != "segment" {
				t.Errorf("the end of %s with %q: %v", name, encryption, err)
			}
		}
		if puts != 3 {
			t.Errorf("%d PUTs", puts)
		}
	}
	f("", "", "")
	f("AES256", "", "STANDARD")
	f("aws:kms", testservers.KMSKey, "REDUCED_REDUNDANCY")
}
