package segment

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"millrace/ingest"
)

// The library reads our files as it reads any others.

func libraryFile(t *testing.T, e Writer) *parquet.File {
	t.Helper()
	f, _ := finished(t, e)
	data := f.source.(*object).data
	file, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func libraryRows(t *testing.T, file *parquet.File) []parquet.Row {
	t.Helper()
	var all []parquet.Row
	for _, group := range file.RowGroups() {
		rows := group.Rows()
		defer rows.Close()
		buf := make([]parquet.Row, 1000)
		for {
			n, err := rows.ReadRows(buf)
			for _, row := range buf[:n] {
				all = append(all, row.Clone())
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

// timeOf puts a row's timestamp together; its rest is the last column.
func timeOf(row parquet.Row) int64 { return 1000*row[2].Int64() + int64(row[len(row)-1].Int32()) }

func TestLibraryReadsRaw(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for _, most := range []int{1, 10, 500} {
		want := someRuns(rng, 70_000/most, most)
		e := NewRawWriter()
		for _, run := range want {
			e.Add(run)
		}
		var got []RawRun
		for _, row := range libraryRows(t, libraryFile(t, e)) {
			id := ingest.MetricID(row[0].ByteArray())
			if n := len(got); n == 0 || got[n-1].Metric != id {
				got = append(got, RawRun{Metric: id, Policy: string(row[1].ByteArray())})
			}
			run := &got[len(got)-1]
			run.Measures = append(run.Measures, ingest.Measure{Time: timeOf(row), Value: row[3].Double()})
		}
		sameRuns(t, want, got)
	}
}

func TestLibraryReadsState(t *testing.T) {
	e := NewStateWriter()
	var want, got []StateRow
	for i, id := range metricIDs(5000) {
		want = append(want, StateRow{id, []string{"low", "high"}[i%2], int64(i), uint64(i % 3), int64(-i)})
		e.Add(want[i])
	}
	for _, row := range libraryRows(t, libraryFile(t, e)) {
		got = append(got, StateRow{ingest.MetricID(row[0].ByteArray()), string(row[1].ByteArray()),
			timeOf(row), row[3].Uint64(), row[4].Int64()})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLibraryReadsSealed(t *testing.T) {
	methods := []ingest.Method{ingest.Max, ingest.Percentile(95).OfRate(), ingest.Last}
	rng := rand.New(rand.NewPCG(5, 5))
	want := someSealed(rng, 300, 500, methods)
	e := NewSealedWriter(methods)
	for _, run := range want {
		e.Add(run)
	}
	rows := libraryRows(t, libraryFile(t, e))
	i := 0
	for _, run := range want {
		for row, at := range run.Times {
			r := rows[i]
			i++
			id, granularity := ingest.MetricID(r[0].ByteArray()), time.Duration(r[1].Int64())
			if id != run.Metric || granularity != run.Granularity || 1000*r[2].Int64() != at {
				t.Fatalf("row %d is %v", i, r)
			}
			for m := range methods {
				present := run.Present[m] != nil && run.Present[m][row]
				if v := r[3+m]; v.IsNull() == present ||
					present && !sameMeasure(ingest.Measure{Value: v.Double()}, ingest.Measure{Value: run.Values[m][row]}) {
					t.Fatalf("row %d is %v", i, r)
				}
			}
		}
	}
	if i != len(rows) {
		t.Errorf("%d rows, want %d", len(rows), i)
	}
}

func TestFooter(t *testing.T) {
	methods := []ingest.Method{ingest.Max, ingest.Percentile(95).OfRate()}
	e := NewSealedWriter(methods)
	for _, run := range someSealed(rand.New(rand.NewPCG(5, 5)), 300, 500, methods) {
		e.Add(run)
	}
	file := libraryFile(t, e)
	const schema = `message sealed {
	required fixed_len_byte_array(16) metric;
	required int64 granularity (INT(64,true));
	required int64 timestamp (TIMESTAMP(isAdjustedToUTC=true,unit=MICROS));
	optional double max;
	optional double rate:95pct;
}`
	if diff := cmp.Diff(schema, file.Schema().String()); diff != "" {
		t.Error(diff)
	}
	for key, want := range map[string]string{keyFormat: "2", keyKind: "sealed", keyMethods: "max,rate:95pct"} {
		if got, _ := file.Lookup(key); got != want {
			t.Errorf("%s is %q", key, got)
		}
	}
	meta := file.Metadata()
	for i, g := range meta.RowGroups {
		var sorting []int32
		for _, s := range g.SortingColumns {
			sorting = append(sorting, s.ColumnIdx)
		}
		if !slices.Equal(sorting, []int32{0, 1, 2}) {
			t.Errorf("row group %d is sorted by %v", i, sorting)
		}
		for j, c := range g.Columns {
			if bounded := c.MetaData.Statistics.MinValue != nil; bounded != (j < 3) {
				t.Errorf("column %d has bounds: %t", j, bounded)
			}
		}
	}
	for i, index := range file.OffsetIndexes() {
		for p, location := range index.PageLocations {
			if location.FirstRowIndex != int64(p*Sealed.pageRows()) {
				t.Errorf("page %d of chunk %d begins at row %d", p, i, location.FirstRowIndex)
			}
		}
	}
}
