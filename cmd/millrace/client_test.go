package main

import "testing"

// Where the commands look for a server whose settings they share.
func TestClientAddress(t *testing.T) {
	f := func(c apiConfig, want string) {
		t.Helper()
		if got := c.address(); got != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
	}
	f(apiConfig{Listen: "127.0.0.1:8041"}, "http://127.0.0.1:8041")
	f(apiConfig{Listen: "[::1]:8041", Prefix: "gnocchi"}, "http://[::1]:8041/gnocchi")
	f(apiConfig{Listen: "192.0.2.1:80", Prefix: "/a/b/"}, "http://192.0.2.1:80/a/b/")
	f(apiConfig{Listen: "example.org:443", TLSCert: "x"}, "https://example.org:443")
	for _, all := range []string{":8041", "0.0.0.0:8041", "[::]:8041"} {
		f(apiConfig{Listen: all}, "http://localhost:8041")
	}
}
