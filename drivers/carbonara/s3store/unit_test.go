package s3store

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"millrace/drivers/carbonara"
)

// answer is an error as the SDK makes one of an answer's status.
func answer(status int) error {
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: errors.New("no"),
	}}
}

func TestJoin(t *testing.T) {
	f := func(ranges []carbonara.Range, want ...string) {
		t.Helper()
		var got []string
		for _, s := range join(ranges) {
			got = append(got, s.header())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", ranges, diff)
		}
	}
	type r = carbonara.Range
	f([]r{{Off: 10, Len: 20}}, "bytes=10-29")
	f([]r{{Off: 500, Len: 20}, {Off: 10, Len: 20}}, "bytes=10-519")
	f([]r{{Off: 0, Len: 10}, {Off: joinGap + 10, Len: 5}}, "bytes=0-131086")
	f([]r{{Off: 0, Len: 10}, {Off: joinGap + 11, Len: 5}}, "bytes=0-9", "bytes=131083-131087")
	f([]r{{Off: -1, Len: 8}, {Off: 0, Len: 4}, {Off: -1, Len: 100}}, "bytes=0-3", "bytes=-100")
	f([]r{{Off: 7, Len: 0}}, "bytes=7-7")
	f([]r{{Off: 7, Len: 1<<63 - 1}}, "bytes=7-9223372036854775806")
}

func TestParseContentRange(t *testing.T) {
	f := func(header string, length, off, size int64, ok bool) {
		t.Helper()
		gotOff, gotSize, err := parseContentRange(header, length)
		if (err == nil) != ok || gotOff != off || gotSize != size {
			t.Errorf("%q: %d of %d, %v; want %d of %d", header, gotOff, gotSize, err, off, size)
		}
	}
	f("bytes 10-19/200", 10, 10, 200, true)
	f("bytes 10-19/20", 10, 10, 20, true)
	f("bytes 10-19/200", 9, 0, 0, false)
	f("bytes 10-19/19", 10, 0, 0, false)
	f("bytes 10-19/*", 10, 0, 0, false)
	f("bytes */200", 0, 0, 0, false)
	f("", 0, 0, 0, false)
}

func TestConfig(t *testing.T) {
	f := func(c Config, part string) {
		t.Helper()
		_, err := c.checked()
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%+v: %v; want an error with %q", c, err, part)
		}
	}
	f(Config{}, "bucket's name is missing")
	f(Config{Bucket: "b", Endpoint: "127.0.0.1:9000"}, "https://host")
	f(Config{Bucket: "b", Endpoint: "http://u:password@h"}, "https://host")
	f(Config{Bucket: "b", Endpoint: "http://h/path"}, "https://host")
	f(Config{Bucket: "b", AccessKey: "a"}, "go together")
	f(Config{Bucket: "b", Encryption: "rot13"}, `"rot13"`)
	f(Config{Bucket: "b", KMSKey: "k"}, "aws:kms")
	f(Config{Bucket: "b", Checksum: "md5"}, `"md5"`)
	f(Config{Bucket: "b", Prefix: "a//b"}, "empty element")
	f(Config{Bucket: "b", Prefix: "a/../b"}, `"a/../b" has an element ..`)
	f(Config{Bucket: "b", CAFile: "/nowhere.pem"}, "cannot read the certificates")
	f(Config{Bucket: "b", CAFile: "unit_test.go"}, "no certificate in unit_test.go")
	c, err := Config{Bucket: "b", Endpoint: "http://h:1/", Prefix: "/a/b/"}.checked()
	if err != nil || c.Prefix != "a/b/" || c.Region != "us-east-1" || c.crc32c() {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := (Config{Bucket: "b"}).checked(); err != nil || !c.crc32c() || c.Prefix != "" {
		t.Errorf("%+v, %v", c, err)
	}
}

// The gate halves for a burst of refusals once, closes for a moment, and opens again with
// what is answered.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(8)
		enter := func() func(error) {
			t.Helper()
			done, err := g.enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		var under []func(error)
		for range 8 {
			under = append(under, enter())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		if _, err := g.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a ninth of eight entered: %v", err)
		}
		cancel()
		time.Sleep(time.Second)
		for _, done := range under {
			done(answer(503))
		}
		if g.window != 4 {
			t.Errorf("after a burst of refusals %v may be under way", g.window)
		}
		began := time.Now()
		done := enter()
		if waited := time.Since(began); waited < firstPause/2 || waited > 2*firstPause {
			t.Errorf("the pause after the first refusal was %v", waited)
		}
		done(nil)
		for range 100 {
			enter()(nil)
		}
		if g.window < 7 || g.inside != 0 {
			t.Errorf("after a hundred answers %v may be under way, %d are", g.window, g.inside)
		}
		for range 20 { // the server stays busy: pauses grow, and stay bounded
			enter()(answer(429))
		}
		soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := g.enter(soon); !errors.Is(err, context.DeadlineExceeded) || !throttled(err) ||
			!strings.Contains(err.Error(), "asks for fewer requests") {
			t.Errorf("the pause is longer than there is time, and the error doesn't say why: %v", err)
		}
		began = time.Now()
		enter()(errors.New("no answer"))
		if waited := time.Since(began); waited > 2*lastPause || g.window != 1 {
			t.Errorf("the pause was %v, and %v may be under way", waited, g.window)
		}
	})
}
