package influx

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/intake"
)

var options = Options{Type: "db", ResourceTag: "host", Creator: "admin", Now: 77}

// parsed shows a batch: "resource metric time value".
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
	f := func(body string, want ...string) {
		t.Helper()
		var b intake.Batch
		if err := p.Parse([]byte(body), options, &b); err != nil {
			t.Errorf("%q: %v", body, err)
			return
		}
		if diff := cmp.Diff(append([]string{}, want...), parsed(&b)); diff != "" {
			t.Errorf("%q (-want +got): %s", body, diff)
		}
	}
	f("")
	f("\n\n  \n# a comment\n")
	f("mymetric,host=foobar,mytag=myvalue field=123 1510581804179554816",
		"foobar mymetric.field@mytag=myvalue 1510581804179554816 123")
	f("mymeasure,tag2=b,host=h,tag1=a field1=1,field2=2.5e1 5", "h mymeasure.field1@tag1=a,tag2=b 5 1",
		"h mymeasure.field2@tag1=a,tag2=b 5 25")
	f("m,host=a v=1\nm,host=b v=2 3\r\nm,host=a v=4 5", "a m.v 77 1", "b m.v 3 2", "a m.v 5 4")
	f("cpu,path=/foo/bar,host=h a/b=43i 1", "h cpu.a_b@path=_foo_bar 1 43")
	f(`m\ x\,y,host=a\ b,t\=1=\,2 f\ 1=1 1`, `a b m x,y.f 1@t=1=,2 1 1`)
	// booleans are 0 and 1, texts are no measures
	f(`t,host=h b=true,i=100i,f=-100.000,s="four" 1678380824258983000`,
		"h t.b 1678380824258983000 1", "h t.i 1678380824258983000 100", "h t.f 1678380824258983000 -100")
	f("t,host=h b=F,u=18446744073709551615u 1", "h t.b 1 0", "h t.u 1 1.8446744073709552e+19")
	f(`log,host=h msg="a, \"quoted\" = text" 1`)
	f(`log msg="no resource is asked of what isn't stored" 1`)
	f("m,host=h s=\"two\nlines\",v=1 1", "h m.v 1 1")
	// quotes in names are characters like others
	f(`m,host=h "a=1 1`, `h m."a 1 1`)
	f("é✔,host=é ü=1 1", "é é✔.ü 1 1")
	f("m,host=h v=1 9223372036854775807", "h m.v 9223372036854775807 1")
}

func TestLine(t *testing.T) {
	var p Parser
	var b intake.Batch
	body := []byte("# x\nm,host=h v=1,w=2\n\nm,host=h s=\"a\nb\",v=3\nm,host=h v=4")
	if err := p.Parse(body, options, &b); err != nil {
		t.Fatal(err)
	}
	for series, want := range []int{2, 2, 4, 6} {
		if got := p.Line(body, series); got != want {
			t.Errorf("series %d is of line %d, want %d", series, got, want)
		}
	}
}

func TestParseUnits(t *testing.T) {
	var p Parser
	var b intake.Batch
	o := options
	o.Unit = 1e9
	if err := p.Parse([]byte("m,host=h v=1 1510581804\nm,host=h v=2"), o, &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"h m.v 1510581804000000000 1", "h m.v 77 2"}, parsed(&b)); diff != "" {
		t.Error(diff)
	}
}

// Two texts of one UUID are one resource, and a text is another one for every caller.
func TestParseResources(t *testing.T) {
	var p Parser
	var b intake.Batch
	body := "m,host=B4D568E4-7AF1-5AEC-AC3F-9C09FA3685A9 v=1\nm,host=b4d568e47af15aecac3f9c09fa3685a9 " +
		"v=2\nm,host=foobar v=3"
	if err := p.Parse([]byte(body), options, &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Resources) != 1 || b.Resources[0].ID.String() != "b4d568e4-7af1-5aec-ac3f-9c09fa3685a9" ||
		b.Resources[0].Type != "db" {
		t.Errorf("resources: %+v", b.Resources)
	}
}

func TestParseErrors(t *testing.T) {
	var p Parser
	f := func(line int, reason string, body string) {
		t.Helper()
		var b intake.Batch
		err := p.Parse([]byte(body), options, &b)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Line != line || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %v, want line %d: %s", body, err, line, reason)
		}
	}
	f(1, "", "foobar")
	f(1, "", "m,host=h")
	f(1, "", `foo,host=h value="a "b" c"`)
	f(1, "", `m,host=h "a=1"=2`)
	f(1, "", `m,host=h a="1`)
	f(1, "", "m,host=h v=x")
	f(1, "", "m,host=h v=0x10")
	f(1, "", "m,host=h v=1_000")
	f(1, "", "m,host=h v=NaN")
	f(1, "", "m,host=h v=1 1.5")
	f(1, "", "m,host=h v=1 1 1")
	f(1, "", "m,host=h v=99999999999999999999i")
	f(4, "", "m,host=h v=1\n\n# x\nm,host=h v= 1\n")
	f(3, "there is no tag \"host\"", "m,host=h v=1\n\nm,hos=h v=1\nm,host=h v=1")
	f(5, "before 1970", "# x\nm,host=h s=\"a\nb\",v=1 1\n\nm,host=h v=1 -1\nm,host=h v=1")
	f(2, `tag "host" is there twice`, "m,host=h v=1\nm,host=h,a=1,host=g v=1")
	f(1, `tag "a" is there twice`, "m,a=1,host=h,a=1 v=1")
	f(1, "out of range", "m,host=h v=1 9223372036854775808")
	f(2, "'/' is not supported in resource id", "m,host=h v=1\nm,host=a/b v=1")
	f(1, "invalid utf-8", "m,host=a\xff v=1")
	f(2, ">289", "m,host=h v=1\nm,host="+strings.Repeat("x", 290)+" v=1")
}

func FuzzParse(f *testing.F) {
	for _, body := range []string{
		"m,host=h v=1 1", `t,host=h b=true,i=100i,f=-100.000,s="four" 1678380824258983000`,
		"m,host=h \"a=1\nm,host=h \"a=1\"=2",
		"#\n\nm\\ x,host=a\\=b,c=/ d=1u", "m,host=h v=1e400", "m,host= v=1", ",=\\", "m,host=h s=\"a\nb\" x",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var p Parser
		var b intake.Batch
		if err := p.Parse([]byte(body), options, &b); err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Line < 1 || e.Line > 1+strings.Count(body, "\n") {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		for _, s := range b.Series {
			if s.Resource < 0 || s.Resource >= len(b.Resources) || len(s.Measures) != 1 || s.Measures[0].Time < 0 ||
				math.IsNaN(s.Measures[0].Value) {
				t.Errorf("%q: %+v", body, s)
			}
			if !strings.Contains(string(s.Name), ".") || strings.Contains(string(s.Name), "/") {
				t.Errorf("%q: name %q", body, s.Name)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	var body []byte
	for i := range 1000 {
		body = fmt.Appendf(body,
			"cpu,cpu=cpu%d,host=server%02d,region=eu usage_user=12.5,usage_system=3.25,usage_idle=84.25,usage_iowait=0 "+
				"17000000%08d0\n", i%8, i/100, i)
	}
	var p Parser
	var batch intake.Batch
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		batch.Resources, batch.Series = batch.Resources[:0], batch.Series[:0]
		if err := p.Parse(body, options, &batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*4000), "ns/measure")
}
