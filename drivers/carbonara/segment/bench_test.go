package segment

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go/format"

	"millrace/ingest"
)

// The data of the budgets: half of the metrics noisy gauges with two decimals, a
// quarter counters, a quarter constant; one measure a minute.
func budgetRuns(metrics, points int) []RawRun {
	rng := rand.New(rand.NewPCG(1, 1))
	const start = 1_700_000_040_000_000_000
	var runs []RawRun
	for i := range metrics {
		run := RawRun{Metric: ingest.MetricID{}, Policy: "medium"}
		for j := range run.Metric {
			run.Metric[j] = byte(rng.Uint32())
		}
		level, counter := 100*rng.Float64(), float64(rng.IntN(1_000_000))
		for p := range points {
			m := ingest.Measure{Time: start + int64(p)*int64(time.Minute)}
			switch i % 4 {
			case 0, 1:
				m.Value = math.Round((level+rng.NormFloat64())*100) / 100
			case 2:
				counter += float64(rng.IntN(100))
				m.Value = counter
			case 3:
				m.Value = math.Round(level)
			}
			run.Measures = append(run.Measures, m)
		}
		runs = append(runs, run)
	}
	slices.SortFunc(runs, func(a, b RawRun) int { return CompareMetrics(a.Metric, b.Metric) })
	return runs
}

// aggregated makes the sealed rows of runs: of each measure, and of five.
func aggregated(runs []RawRun, methods []ingest.Method) []SealedRun {
	var sealed []SealedRun
	for _, run := range runs {
		for _, per := range []int{1, 5} {
			s := SealedRun{Metric: run.Metric, Granularity: time.Duration(per) * time.Minute}
			s.Values, s.Present = make([][]float64, len(methods)), make([][]bool, len(methods))
			for bucket := range slices.Chunk(run.Measures, per) {
				s.Times = append(s.Times, ingest.Floor(bucket[0].Time, s.Granularity))
				for j, m := range methods {
					v, ok := aggregateOf(m, bucket)
					s.Values[j], s.Present[j] = append(s.Values[j], v), append(s.Present[j], ok)
				}
			}
			sealed = append(sealed, s)
		}
	}
	return sealed
}

func aggregateOf(m ingest.Method, bucket []ingest.Measure) (value float64, ok bool) {
	sum, least, most := 0.0, math.Inf(1), math.Inf(-1)
	for _, m := range bucket {
		sum, least, most = sum+m.Value, min(least, m.Value), max(most, m.Value)
	}
	n := float64(len(bucket))
	switch m {
	case ingest.Mean:
		return sum / n, true
	case ingest.Min:
		return least, true
	case ingest.Max:
		return most, true
	case ingest.Sum:
		return sum, true
	case ingest.Count:
		return n, true
	case ingest.Std:
		if n < 2 {
			return 0, false
		}
		squares := 0.0
		for _, m := range bucket {
			squares += (m.Value - sum/n) * (m.Value - sum/n)
		}
		return math.Sqrt(squares / (n - 1)), true
	}
	return 0, false
}

func defaultMethods() []ingest.Method {
	set := ingest.DefaultMethods()
	return set.List()
}

func BenchmarkEncodeRaw(b *testing.B) {
	// jitter moves each measure by less than a second, in steps of jitter.
	f := func(name string, metrics, points int, jitter time.Duration) {
		b.Run(name, func(b *testing.B) {
			runs := budgetRuns(metrics, points)
			rng := rand.New(rand.NewPCG(2, 2))
			for i := range runs {
				for j := range runs[i].Measures {
					if jitter > 0 {
						runs[i].Measures[j].Time += rng.Int64N(int64(time.Second/jitter)) * int64(jitter)
					}
				}
			}
			e := NewRawWriter()
			var bytes int64
			b.ReportAllocs()
			for b.Loop() {
				for _, run := range runs {
					e.Add(run)
				}
				_, d, err := e.Finish()
				if err != nil {
					b.Fatal(err)
				}
				bytes = d.Bytes
			}
			rows := float64(metrics * points)
			b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
			b.ReportMetric(float64(bytes)/rows, "B/row")
		})
	}
	f("625x1", 625, 1, 0)
	f("625x1/microseconds", 625, 1, time.Microsecond)
	f("625x1/nanoseconds", 625, 1, time.Nanosecond)
	f("65x1/microseconds", 65, 1, time.Microsecond)
	f("625x4", 625, 4, 0)
	f("10000x1", 10_000, 1, 0)
	f("10000x60", 10_000, 60, 0)
	f("10000x100", 10_000, 100, 0)
	f("10000x100/microseconds", 10_000, 100, time.Microsecond)
	f("10000x100/nanoseconds", 10_000, 100, time.Nanosecond)
}

func BenchmarkEncodeSealed(b *testing.B) {
	methods := defaultMethods()
	runs := aggregated(budgetRuns(10_000, 100), methods)
	e := NewSealedWriter(methods)
	var rows, bytes, values int64
	b.ReportAllocs()
	for b.Loop() {
		values = 0
		for _, run := range runs {
			e.Add(run)
			for _, present := range run.Present {
				for _, p := range present {
					if p {
						values++
					}
				}
			}
		}
		_, d, err := e.Finish()
		if err != nil {
			b.Fatal(err)
		}
		rows, bytes = d.Rows, d.Bytes
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
	b.ReportMetric(float64(bytes)/float64(values), "B/value")
}

// What ids cost as text, which every reader shows and compares as its users write
// them, and as the 16 bytes that segments have: in a page of plain values, where each
// row has its own metric, and in a dictionary.
func BenchmarkMetricColumn(b *testing.B) {
	z := newPageCompressor()
	ids := metricIDs(4096)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range ids {
		binary.LittleEndian.PutUint64(ids[i][:], rng.Uint64())
		binary.LittleEndian.PutUint64(ids[i][8:], rng.Uint64())
	}
	f := func(name string, n int, compressor *pageCompressor, appendID func([]byte, ingest.MetricID) []byte) {
		want := pageHeader{kind: format.DataPage, values: n, encoding: format.Plain}
		codec := format.Uncompressed
		if compressor != nil {
			codec = format.Zstd
		}
		var payload, page, buf []byte
		b.Run(fmt.Sprintf("%s/%d/write", name, n), func(b *testing.B) {
			for b.Loop() {
				payload = payload[:0]
				for _, id := range ids[:n] {
					payload = appendID(payload, id)
				}
				page, _ = appendPage(page[:0], want, payload, compressor)
			}
			b.ReportMetric(float64(len(page))/float64(n), "B/id")
		})
		b.Run(fmt.Sprintf("%s/%d/read", name, n), func(b *testing.B) {
			for b.Loop() {
				var err error
				if _, buf, err = openPage(page, want, codec, 40*n, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, n := range []int{625, 4096} {
		f("bytes", n, nil, func(dst []byte, id ingest.MetricID) []byte { return append(dst, id[:]...) })
		f("text", n, z, func(dst []byte, id ingest.MetricID) []byte {
			dst = binary.LittleEndian.AppendUint32(dst, 36)
			return id.AppendText(dst)
		})
	}
}

func encodedRaw(b *testing.B, runs []RawRun) *Reader {
	e := NewRawWriter()
	for _, run := range runs {
		e.Add(run)
	}
	return opened(b, e)
}

func encodedSealed(b *testing.B, runs []SealedRun, methods []ingest.Method) *Reader {
	e := NewSealedWriter(methods)
	for _, run := range runs {
		e.Add(run)
	}
	return opened(b, e)
}

func opened(b *testing.B, e Writer) *Reader {
	file, _, err := e.Finish()
	if err != nil {
		b.Fatal(err)
	}
	f, err := Open(context.Background(), &object{data: slices.Clone(file)}, "a", int64(len(file)))
	if err != nil {
		b.Fatal(err)
	}
	return f
}

func BenchmarkOpen(b *testing.B) {
	f := encodedRaw(b, budgetRuns(10_000, 100))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(context.Background(), f.source, f.name, f.size); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(f.Memory())/float64(len(f.groups)), "B/group")
}

func BenchmarkScanRaw(b *testing.B) {
	f := encodedRaw(b, budgetRuns(10_000, 100))
	b.ReportAllocs()
	for b.Loop() {
		rows := int64(0)
		scan := f.ScanRaw(context.Background())
		for scan.Next() {
			rows += int64(len(scan.Run().Measures))
		}
		if scan.Err() != nil || rows != f.rows {
			b.Fatal(scan.Err(), rows)
		}
	}
	b.ReportMetric(float64(f.rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

func BenchmarkScanSealed(b *testing.B) {
	methods := defaultMethods()
	f := encodedSealed(b, aggregated(budgetRuns(10_000, 100), methods), methods)
	b.ReportAllocs()
	for b.Loop() {
		rows := int64(0)
		scan := f.ScanSealed(context.Background())
		for scan.Next() {
			rows += int64(len(scan.Run().Times))
		}
		if scan.Err() != nil || rows != f.rows {
			b.Fatal(scan.Err(), rows)
		}
	}
	b.ReportMetric(float64(f.rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

func BenchmarkFindRaw(b *testing.B) {
	f := func(name string, metrics, points int) {
		b.Run(name, func(b *testing.B) {
			runs := budgetRuns(metrics, points)
			file := encodedRaw(b, runs)
			rng := rand.New(rand.NewPCG(5, 5))
			b.ReportAllocs()
			for b.Loop() {
				rows := 0
				metric := []ingest.MetricID{runs[rng.IntN(len(runs))].Metric}
				err := file.FindRaw(context.Background(), metric, ingest.MinTime, ingest.MaxTime,
					func(_ int, measures []ingest.Measure, _ string) error { rows += len(measures); return nil })
				if err != nil || rows != points {
					b.Fatal(err, rows)
				}
			}
		})
	}
	f("10000x100", 10_000, 100)
	f("60000x10", 60_000, 10)
	f("200000x1", 200_000, 1)
}

func BenchmarkFindSealed(b *testing.B) {
	methods := defaultMethods()
	runs := aggregated(budgetRuns(400, 1440), methods)
	file := encodedSealed(b, runs, methods)
	for _, method := range []ingest.Method{ingest.Max, ingest.Mean} {
		b.Run(method.String(), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(5, 5))
			b.ReportAllocs()
			for b.Loop() {
				rows := 0
				want := Want{Metric: runs[rng.IntN(len(runs))].Metric, Granularity: time.Minute, Method: method,
					From: ingest.MinTime, To: ingest.MaxTime}
				err := file.FindSealed(context.Background(), []Want{want},
					func(_ int, measures []ingest.Measure) error { rows += len(measures); return nil })
				if err != nil || rows != 1440 {
					b.Fatal(err, rows)
				}
			}
		})
	}
}
