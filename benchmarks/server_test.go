package benchmarks

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// /metrics are outside of the server's prefix.
func TestMeasureUsage(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "# HELP process_cpu_seconds_total x\nprocess_cpu_seconds_total 1.25\nother{a=\"b\"} "+
			"1\nprocess_resident_memory_bytes 1.5e+07\n")
	}))
	defer s.Close()
	if got, err := MeasureUsage(t.Context(), s.URL+"/gnocchi"); err != nil || got != (Usage{CPU: 1.25, Resident: 1.5e7}) {
		t.Errorf("%+v, %v", got, err)
	}
	none := httptest.NewServer(http.NotFoundHandler())
	defer none.Close()
	if _, err := MeasureUsage(t.Context(), none.URL); err == nil ||
		!strings.Contains(err.Error(), "/metrics answers 404") {
		t.Errorf("%v", err)
	}
}

func TestAwaitApplied(t *testing.T) {
	left := 3
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/gnocchi/v1/status" {
			http.Error(w, "{}", http.StatusNotFound)
			return
		}
		left--
		fmt.Fprintf(w, `{"ingest": {"lag": {"records": %d}}}`, left)
	}))
	defer s.Close()
	if err := AwaitApplied(t.Context(), s.URL+"/gnocchi", "admin"); err != nil || left != 0 {
		t.Errorf("%d are left, %v", left, err)
	}
	if err := AwaitApplied(t.Context(), s.URL, "admin"); err == nil ||
		!strings.Contains(err.Error(), "the server answers 404") {
		t.Errorf("%v", err)
	}
}
