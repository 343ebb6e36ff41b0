package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"millrace/disk"
	"millrace/drivers/carbonara"
)

// The repairs of docs/damage.md do on S3 and Redis what they do on files.
func TestCheckRepairStores(t *testing.T) {
	for name, settings := range map[string]func(t *testing.T) []string{
		"files": func(*testing.T) []string { return nil },
		"S3":    func(t *testing.T) []string { return onS3(t).settings },
		"Redis": func(t *testing.T) []string { return onRedis(t).settings },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			settings := append(settings(t), "MILLRACE_SACKS=1", "MILLRACE_WORKER_FLUSH_INTERVAL=50ms")
			d := &storeDamage{dir: dir, settings: settings, environ: append(settings, "MILLRACE_DATA_DIR="+dir)}
			d.run(t)
		})
	}
}

// A storeDamage is a deployment whose storage is damaged and repaired, again and again.
type storeDamage struct {
	dir               string
	settings, environ []string
	metric            string
	before            []string // its minutes
	repaired          int
}

func (d *storeDamage) run(t *testing.T) {
	p := start(t, d.dir, d.settings...)
	d.metric = p.newMetric(t, "m", "high")
	for from := 0; from < many; from += many / 4 {
		p.post(t, d.metric, measuresFrom(from, many/4))
	}
	d.before = p.series(t, d.metric, "granularity=60")
	p.awaitMetric(t, `millrace_carbonara_changes_total{kind="seal"}`)
	d.stop(t, p)

	d.harm(t, "the manifest", func(store carbonara.Store, manifest carbonara.Contents,
		_ map[string][]string) (says string) {
		damaged := slices.Clone(manifest.Data[0])
		damaged[len(damaged)/2] ^= 1
		if _, err := store.Swap(t.Context(), sackManifest, manifest.Version, damaged, nil); err != nil {
			t.Fatal(err)
		}
		return "cannot read " + sackManifest + ": it is damaged"
	}, true, "which metrics had been deleted lately")
	d.harm(t, "a state segment", func(store carbonara.Store, _ carbonara.Contents,
		live map[string][]string) (says string) {
		if len(live["state"]) == 0 {
			t.Fatalf("there is no state segment: %v", live)
		}
		if err := store.Delete(t.Context(), live["state"]); err != nil {
			t.Fatal(err)
		}
		return live["state"][0]
	}, true, "")
	d.harm(t, "a sealed segment", func(store carbonara.Store, _ carbonara.Contents,
		live map[string][]string) (says string) {
		if len(live["sealed"]) == 0 {
			t.Fatalf("there is no sealed segment: %v", live)
		}
		for _, name := range live["sealed"] { // whichever has the minutes
			damage(t, store, name)
		}
		return live["sealed"][0]
	}, false, " sealed rows of metrics "+d.metric)
}

const many = 100_000 // measures: enough to be sealed, and the last is the last of a minute

const sackManifest = "sack/0/manifest.json"

// harm does damage, which check names, and repairs it; whole says that no
// measure is lost, and loses is in what the repair says is lost.
func (d *storeDamage) harm(t *testing.T, what string, do func(store carbonara.Store, manifest carbonara.Contents,
	live map[string][]string) string, whole bool, loses string) {
	t.Helper()
	c, _, err := loadConfig(t, "", d.environ...)
	if err != nil {
		t.Fatal(err)
	}
	store, err := openStore(t.Context(), &c, disk.OS{}, nil, slog.New(slog.NewTextHandler(t.Output(), nil)),
		noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	manifest, live := liveObjects(t, store)
	says := do(store, manifest, live)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	out, errOut, code := command(t, d.environ, "check")
	if code != 1 || !strings.Contains(errOut, says) {
		t.Errorf("%s is damaged: check ends with %d and doesn't say %q: %s%s", what, code, says, out, errOut)
	}
	out, errOut, code = command(t, d.environ, "check", "--repair")
	_, lost, any := strings.Cut(out, "LOST ")
	if code != 0 || !strings.Contains(out, "all is sound") || any != (loses != "") || !strings.Contains(lost, loses) {
		t.Fatalf("%s is damaged: the repair ends with %d: %s%s", what, code, out, errOut)
	}
	p := start(t, d.dir, d.settings...)
	after := p.series(t, d.metric, "granularity=60")
	if whole && !slices.Equal(after, d.before) {
		t.Errorf("%s was repaired: %d minutes before, %d after", what, len(d.before), len(after))
	}
	p.post(t, d.metric, measuresFrom(many+60*d.repaired, 1))
	d.repaired++
	d.before = p.series(t, d.metric, "granularity=60")
	if len(d.before) != len(after)+1 {
		t.Errorf("%s was repaired, and one more measure makes %d minutes of %d", what, len(d.before), len(after))
	}
	d.stop(t, p)
}

func (d *storeDamage) stop(t *testing.T, p *process) {
	t.Helper()
	if err := p.terminate(); err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
}

// liveObjects are the sack's manifest and the segments that it names, by kind.
func liveObjects(t *testing.T, store carbonara.Store) (manifest carbonara.Contents, live map[string][]string) {
	t.Helper()
	manifest, err := store.Read(t.Context(), sackManifest, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Segments []struct{ Name, Kind string } }
	if err := json.Unmarshal(manifest.Data[0], &m); err != nil {
		t.Fatal(err)
	}
	live = make(map[string][]string)
	for _, s := range m.Segments {
		live[s.Kind] = append(live[s.Kind], "sack/0/"+s.Name)
	}
	return manifest, live
}

// damage changes a byte of a segment.
func damage(t *testing.T, store carbonara.Store, name string) {
	t.Helper()
	got, err := store.Read(t.Context(), name, "", nil)
	if err == nil {
		err = store.Delete(t.Context(), []string{name})
	}
	if err == nil {
		damaged := slices.Clone(got.Data[0])
		damaged[len(damaged)/2] ^= 1
		err = store.Put(t.Context(), name, damaged)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// awaitMetric waits until a line of /metrics has a value other than 0.
func (p *process) awaitMetric(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		_, body := get(t, http.DefaultClient, p.base.String()+"/metrics")
		for line := range strings.Lines(body) {
			if value, ok := strings.CutPrefix(line, name+" "); ok && strings.TrimSpace(value) != "0" {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s stays 0\n%s\n%s", name, body, p.log)
		}
	}
}
