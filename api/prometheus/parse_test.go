package prometheus

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"millrace/ingest"
	"millrace/intake"
)

// A series as tests write it: "name=value,…" and samples.
type series struct {
	labels  string
	samples []ingest.Measure // Time in milliseconds
	more    []byte           // further fields
}

func request(all ...series) []byte {
	var body []byte
	for _, s := range all {
		var message []byte
		for pair := range strings.SplitSeq(s.labels, ",") {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				continue
			}
			var l []byte
			l = protowire.AppendString(protowire.AppendTag(l, 1, protowire.BytesType), name)
			l = protowire.AppendString(protowire.AppendTag(l, 2, protowire.BytesType), value)
			message = protowire.AppendBytes(protowire.AppendTag(message, 1, protowire.BytesType), l)
		}
		for _, m := range s.samples {
			var b []byte
			b = protowire.AppendFixed64(protowire.AppendTag(b, 1, protowire.Fixed64Type), math.Float64bits(m.Value))
			b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(m.Time))
			message = protowire.AppendBytes(protowire.AppendTag(message, 2, protowire.BytesType), b)
		}
		message = append(message, s.more...)
		body = protowire.AppendBytes(protowire.AppendTag(body, 1, protowire.BytesType), message)
	}
	return body
}

func one(labels string, ms int64, value float64) series {
	return series{labels: labels, samples: []ingest.Measure{{Time: ms, Value: value}}}
}

func parsed(b *intake.Batch) []string {
	lines := []string{}
	for _, s := range b.Series {
		for _, m := range s.Measures {
			lines = append(lines, fmt.Sprint(b.Resources[s.Resource].Original, " ", string(s.Name), " ", m.Time, " ", m.Value))
		}
	}
	return lines
}

func TestParse(t *testing.T) {
	var p Parser
	f := func(body []byte, want ...string) {
		t.Helper()
		var b intake.Batch
		if err := p.Parse(body, "admin", &b); err != nil {
			t.Error(err)
			return
		}
		if diff := cmp.Diff(append([]string{}, want...), parsed(&b)); diff != "" {
			t.Errorf("(-want +got): %s", diff)
		}
	}
	f(nil)
	f(request(one("__name__=up,instance=h:1,job=j", 1506146578123, 1)), "j@h:1 up 1506146578123000000 1")
	f(request(one("__name__=up", 5, 1)), "none@none up 5000000 1")
	f(request(one("job=a/b,__name__=up,instance=http://h/x", 5, 1)), "a_b@http:__h_x up 5000000 1")
	// the last series that has samples counts
	f(request(
		one("__name__=gc,instance=h,job=j,quantile=0", 1, 1), one("__name__=gc,instance=h,job=j,quantile=1", 2, 2),
		series{labels: "__name__=gc,instance=h,job=j,quantile=2"}, one("__name__=gc,instance=other,job=j", 1, 3)),
		"j@h gc 2000000 2", "j@other gc 1000000 3")
	f(request(series{labels: "__name__=up,instance=h,job=j", samples: []ingest.Measure{{Time: 1, Value: 1},
		{Time: 2, Value: math.Inf(1)}}}), "j@h up 1000000 1", "j@h up 2000000 +Inf")
	f(request(one("__name__=up", 1, math.Float64frombits(staleMarker))))
	f(request(one("__name__=up", 1, math.NaN())), "none@none up 1000000 NaN")
	// what isn't known is skipped: metadata, exemplars
	metadata := protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), []byte("x"))
	f(append(metadata, request(series{labels: "__name__=up", samples: []ingest.Measure{{Time: 1, Value: 1}},
		more: metadata})...), "none@none up 1000000 1")
}

func TestParseErrors(t *testing.T) {
	var p Parser
	f := func(at int, reason string, body []byte) {
		t.Helper()
		var b intake.Batch
		err := p.Parse(body, "admin", &b)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Series != at || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v, want series %d: %s", err, at, reason)
		}
	}
	good := one("__name__=up", 1, 1)
	f(-1, "not a WriteRequest", []byte("\xff"))
	f(-1, "not a WriteRequest", request(good)[:10])
	f(1, `series 1 (up): label "zone" is there twice`, request(good, one("__name__=up,zone=a,zone=b", 1, 1)))
	f(0, `label "c" is there twice`, request(one("__name__=up,a=1,c=2,b=3,c=4", 1, 1)))
	f(1, "no label __name__", request(good, one("job=j", 1, 1)))
	f(0, "no label __name__", request(one("__name__=,job=j", 1, 1)))
	f(0, "before 1970", request(one("__name__=up", -1, 1)))
	f(0, "out of range", request(one("__name__=up", math.MaxInt64/1000, 1)))
	f(0, "label job is not a text of 1 to 512", request(one("__name__=up,job="+strings.Repeat("x", 513), 1, 1)))
	f(0, "label instance is not a text of 1 to 512", request(one("__name__=up,instance=", 1, 1)))
	f(0, ">289", request(one("__name__=up,job="+strings.Repeat("x", 300), 1, 1)))
	f(1, "native histograms", request(good, series{labels: "__name__=up",
		more: protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), []byte("x"))}))
}

// fixture is a request of a real Prometheus, from Gnocchi's functional tests.
func fixture(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "conformance", "gabbits", "prometheus_fixtures",
		"031b586e-ebe1-4737-812e-cf0ddf26f5ad.dump"))
	if err != nil {
		t.Skip("there is no fixture: ", err)
	}
	if data, err = snappy.Decode(nil, data); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseFixture(t *testing.T) {
	var p Parser
	var b intake.Batch
	if err := p.Parse(fixture(t), "admin", &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Resources) != 1 || b.Resources[0].Original != "prometheus@localhost:9090" || len(b.Series) != 56 {
		t.Errorf("%+v, %d series", b.Resources, len(b.Series))
	}
}

// Labels in a bad order, however many, cost no more than sorting them.
func TestManyLabels(t *testing.T) {
	var labels strings.Builder
	const n = 100_000
	for i := range n {
		fmt.Fprintf(&labels, "l%06d=x,", n-i)
	}
	var p Parser
	var b intake.Batch
	if err := p.Parse(request(one(labels.String()+"__name__=up", 1, 1)), "admin", &b); err != nil || len(b.Series) != 1 {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(request(one("__name__=up,instance=h:1,job=j", 1506146578123, 1), one("__name__=up,zone=a,zone=b", 1, 1)))
	f.Add([]byte("\n\x02\x12"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var p Parser
		var b intake.Batch
		if err := p.Parse(body, "admin", &b); err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatal(err)
			}
			return
		}
		for _, s := range b.Series {
			if s.Resource < 0 || s.Resource >= len(b.Resources) || len(s.Name) == 0 || strings.Contains(string(s.Name), "/") {
				t.Errorf("%+v", s)
			}
			for _, m := range s.Measures {
				if m.Time < 0 {
					t.Errorf("%+v", s)
				}
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	var all []series
	for i := range 1000 {
		all = append(all, one(fmt.Sprintf("__name__=node_metric_%d_total,cpu=%d,instance=server%02d:9100,job=node,mode=idle",
			i%100, i%8, i/100), 1700000000000, float64(i)))
	}
	body := request(all...)
	var p Parser
	var batch intake.Batch
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		batch.Resources, batch.Series = batch.Resources[:0], batch.Series[:0]
		if err := p.Parse(body, "admin", &batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*1000), "ns/sample")
}
