package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func hashed(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func basicRequest(user, password string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.SetBasicAuth(user, password)
	return r
}

func TestHtpasswd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "users")
		write := func(lines ...string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * lookInterval)
			if err := os.Chtimes(file, time.Time{}, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		var log strings.Builder
		// as Apache writes it
		write("# users", "", "admin:"+hashed(t, "a:b"), "jd:"+strings.Replace(hashed(t, "é"), "$2a$", "$2y$", 1))
		h, err := NewHtpasswd(file, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		f := func(user, password string, want bool) {
			t.Helper()
			for range 2 { // once checked, once remembered
				id, err := h.Authenticate(basicRequest(user, password))
				if want && (err != nil || id.User != user || id.Creator != user || id.Has("admin") != (user == "admin")) {
					t.Errorf("%s:%s: %+v, %v", user, password, id, err)
				}
				if !want && !errors.Is(err, ErrUnauthorized) {
					t.Errorf("%s:%s: %+v, %v", user, password, id, err)
				}
			}
		}
		f("admin", "a:b", true)
		f("admin", "a", false)
		f("admin", "", false)
		f("jd", "é", true)
		f("jd", "a:b", false)
		f("nobody", "a:b", false)
		if _, err := h.Authenticate(httptest.NewRequest("GET", "/", nil)); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("no credentials: %v", err)
		}

		write("admin:"+hashed(t, "new"), "zoe:"+hashed(t, "z"))
		f("admin", "a:b", false)
		f("admin", "new", true)
		f("jd", "é", false)
		f("zoe", "z", true)

		write("admin") // somebody is editing
		f("zoe", "z", true)
		if !strings.Contains(log.String(), "users:1: not of the form user:hash") {
			t.Errorf("the log: %s", log.String())
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * lookInterval)
		f("zoe", "z", true)
	})
}

func TestHtpasswdFiles(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := parseHtpasswd([]byte(text)); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	good := "a:" + hashed(t, "x")
	f("\n"+good+"\n"+good, `3: user "a" is there twice`)
	f(good+"\nb:$apr1$secret$xyz", `2: the hash of user "b" is not bcrypt's`)
	f("b:secret", `1: the hash of user "b" is not bcrypt's`)
	f("b", "1: not of the form user:hash")
	if _, err := NewHtpasswd(filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("there is no file, and nobody minds")
	}
}

// Hashes are computed a few at a time, and whoever waits for one may leave.
func TestHtpasswdIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte("a:"+hashed(t, "x")), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := NewHtpasswd(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range cap(h.work) {
		h.work <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Authenticate(basicRequest("a", "x").WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRemoteUser(t *testing.T) {
	a := RemoteUser{Header: "X-Remote-User"}
	f := func(want string, values ...string) {
		t.Helper()
		r := basicRequest("admin", "")
		for _, v := range values {
			r.Header.Add("X-Remote-User", v)
		}
		id, err := a.Authenticate(r)
		if want == "" && !errors.Is(err, ErrUnauthorized) || want != "" &&
			(err != nil || id.User != want || id.Creator != want || id.Has("admin") != (want == "admin")) {
			t.Errorf("%q: %+v, %v", values, id, err)
		}
	}
	f("jd", "jd")
	f("admin", "admin")
	f("")
	f("", "")
	f("", "jd", "admin")
	f("", "\xff")
}
