package index

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"millrace/ingest"
)

// TestCopy copies an index with something in every table from database to database
// and back, and compares all rows with those of the beginning.
func TestCopy(t *testing.T) {
	file := func() string { return "sqlite:" + t.TempDir() + "/index.db" }
	urls := []string{file(), postgres(t), file(), file(), postgres(t)}
	fill(t, urls[0])
	want := dump(t, urls[0])
	for _, table := range copiedTables() {
		if len(want[table.name]) == 0 {
			t.Errorf("nothing was written to %s", table.name)
		}
	}
	for i := range urls[1:] {
		copied := make(map[string]int64)
		must(t, Copy(t.Context(), urls[i], urls[i+1], func(table string, rows int64) { copied[table] = rows }))
		got := dump(t, urls[i+1])
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s copied to %s (-want +got):\n%s", urls[i], urls[i+1], diff)
		}
		for table, rows := range got {
			if copied[table] != int64(len(rows)) {
				t.Errorf("said to have copied %d rows of %s, and there are %d", copied[table], table, len(rows))
			}
		}
		lives(t, urls[i+1])
		want = dump(t, urls[i+1])
	}
	err := Copy(t.Context(), urls[0], urls[1], nil)
	if !errors.Is(err, ErrNotEmpty) {
		t.Errorf("copied to an index that isn't empty: %v", err)
	}
	if err := Copy(t.Context(), urls[1], urls[1], nil); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("copied an index to itself: %v", err)
	}
}

// TestCopyRefused has a mistyped source, one in use, and a copy that is broken off.
func TestCopyRefused(t *testing.T) {
	dir := t.TempDir()
	refused := func(from, to, want string) {
		t.Helper()
		if err := Copy(t.Context(), from, to, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	refused("sqlite:"+dir+"/none.db", "sqlite:"+dir+"/a.db", "no such file")
	empty := "sqlite:" + dir + "/empty.db"
	db, err := openDatabase(empty, 1)
	must(t, errors.Join(err, db.close()))
	refused(empty, "sqlite:"+dir+"/b.db", "there is no index")
	refused("sqlite:"+dir+"/x.db", "oracle:x", "no such file")

	from, to := "sqlite:"+dir+"/from.db", "sqlite:"+dir+"/to.db"
	fill(t, from)
	x := openIndex(t, from, Config{})
	must(t, x.Register(t.Context(), Process{ID: "p"}))
	refused(from, to, "1 processes of the deployment use it")
	must(t, x.Forget(t.Context(), "p"))
	_, err = x.database.transact(t.Context(), func(s session) error { // what the target refuses
		_, err := s.exec(t.Context(), `UPDATE archive_policies SET definition = CAST(x'00' AS TEXT)`)
		return err
	})
	must(t, err)
	refused(from, to, "table archive_policies")
	if got := dump(t, to); len(got["archive_policies"]) != 0 || len(got["resource_types"]) != 1 {
		t.Errorf("a copy that was broken off has left %v", got)
	}
}

// TestCopiedTables compares what is copied with the tables that there are.
func TestCopiedTables(t *testing.T) {
	x := openIndex(t, "sqlite::memory:", Config{})
	got := make(map[string]string)
	for _, table := range copiedTables() {
		got[table.name] = table.columnNames()
	}
	want := make(map[string]string)
	must(t, x.database.reading().rows(t.Context(), func(rows *sql.Rows) error {
		var table, columns string
		err := rows.Scan(&table, &columns)
		want[table] = columns
		return err
	}, `SELECT t.name, (SELECT group_concat(c.name, ', ') FROM pragma_table_info(t.name) AS c)
		FROM sqlite_schema AS t WHERE type = 'table' AND t.name NOT LIKE 'sqlite_%'`))
	for _, table := range []string{"migrations", "feed", "processes"} {
		if want[table] == "" {
			t.Errorf("there is no table %s", table)
		}
		delete(want, table)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tables and columns (-want +got):\n%s", diff)
	}
}

// fill makes an index with something in every table.
func fill(t *testing.T, url string) {
	x, err := openURL(t, url, Config{})
	must(t, err)
	ctx := t.Context()
	value(x.CreateDefaults(ctx))(t)
	value(x.FoundDeployment(ctx, 3))(t)
	first, next := ingest.LogID{ID: "a", Base: 1 << 60}, ingest.LogID{ID: "b", Base: 1 << 61}
	must(t, x.OpenLog(ctx, first))
	must(t, x.SwitchLog(ctx, first, next, ingest.Position{1, 2, 1<<60 + 5}))
	must(t, x.Letters().Add(ctx, lettersOf(1, 2, 3, 5, 10)))

	host := &ResourceType{Name: "host", Attributes: []Attribute{{Name: "größe", Type: AttributeNumber},
		{Name: "it's", Type: AttributeString}}}
	must(t, x.CreateResourceType(ctx, &ResourceType{Name: "gone"}))
	must(t, x.CreateResourceType(ctx, host))
	must(t, x.DeleteResourceType(ctx, "gone"))
	host = value(x.ResourceType(ctx, "host"))(t)
	project := "p"
	r := Resource{ID: ResourceID{1}, Type: "host", Original: "a/ä", Creator: "alice", Project: &project, Started: 5,
		Attributes: map[string]any{"größe": json.Number("1.5"), "it's": "\"quoted\" ü"}}
	value(x.CreateResource(ctx, host, r, nil))(t)
	resize(t, x, host, "2.0")
	value(x.CreateResource(ctx, host, Resource{ID: ResourceID{2}, Original: "gone", Creator: "alice"}, nil))(t)
	value(x.DeleteResource(ctx, host, ResourceID{2}, func(*Resource) error { return nil }))(t)

	metrics := make([]Metric, 3000)
	for i := range metrics {
		metrics[i] = metric(fmt.Sprint("metric ", i))
	}
	metrics[1].Name = nil
	metrics[2].Resource, metrics[2].LabelType = (*[16]byte)(&r.ID), "host"
	must(t, x.CreateMetrics(ctx, metrics))
	must(t, x.MarkDeleted(ctx, metrics[3].ID))
	must(t, x.MarkDeleted(ctx, metrics[4].ID))
	must(t, x.Told(ctx, Deletion{metrics[4].ID, 2, 1 << 60}))
	must(t, x.Close())
}

// lives does something with a copied index that needs more than its rows.
func lives(t *testing.T, url string) {
	t.Helper()
	x, err := openURL(t, url, Config{})
	must(t, err)
	ctx := t.Context()
	counts, metrics := value(x.Counts(ctx))(t), x.count(t, "metrics")
	if counts.Metrics+counts.Deleted != metrics {
		t.Errorf("%+v are counted, and there are %d metrics", counts, metrics)
	}
	must(t, x.CreateMetric(ctx, metric("new")))
	must(t, x.MarkDeleted(ctx, value(x.Metrics(ctx, Filter{}, Page{Limit: 1}))(t)[0].ID)) // a row of the feed
	name := fmt.Sprint("new ", time.Now().UnixNano())
	must(t, x.CreateResourceType(ctx, &ResourceType{Name: name}))
	host, made := value(x.ResourceType(ctx, "host"))(t), value(x.ResourceType(ctx, name))(t)
	if made.id <= host.id {
		t.Errorf("a new resource type has the id %d, and host has %d", made.id, host.id)
	}
	resize(t, x, host, "3.5")
	value(x.UpdateResourceType(ctx, host, slices.Clone(host.Attributes), nil))(t)
	must(t, x.Close())
}

func resize(t *testing.T, x *Index, host *ResourceType, size string) {
	t.Helper()
	value(x.UpdateResource(t.Context(), host, ResourceID{1}, func(r *Resource) error {
		r.Attributes["größe"] = json.Number(size)
		return nil
	}, nil))(t)
}

// sortedKeys is JSON as one database has it and another not.
func sortedKeys(t *testing.T, text string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	must(t, d.Decode(&v))
	return string(value(json.Marshal(v))(t))
}

// dump reads all rows of all copied tables as text, sorted.
func dump(t *testing.T, url string) map[string][]string {
	t.Helper()
	db, err := openDatabase(url, 1)
	must(t, err)
	defer func() { must(t, db.close()) }()
	all := make(map[string][]string)
	for _, table := range copiedTables() {
		all[table.name] = nil
		must(t, db.reading().rows(t.Context(), func(rows *sql.Rows) error {
			row, err := table.scan(rows, nil)
			if table.name == "state" { // the feed begins anew
				row[2] = nil
			}
			for i, c := range table.columns {
				if text, ok := row[i].(string); ok && c.name == "attributes" {
					row[i] = sortedKeys(t, text)
				}
			}
			all[table.name] = append(all[table.name], fmt.Sprintf("%#v", row))
			return err
		}, `SELECT `+table.columnNames()+` FROM `+table.name))
		slices.Sort(all[table.name])
	}
	return all
}
