package carbonara

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"millrace/drivers/carbonara/segment"
	"millrace/ingest"
)

// A Repaired is what Repair has done about one sack, or about the layout (Sack -1).
// Sacks that are sound are not told of.
type Repaired struct {
	Sack ingest.Sack
	Did  []string
	Lost []string // what can't be got back, and isn't there any more
}

// quarantine begins the names of copies of what could not be read.
const quarantine = "quarantine/"

// Repair makes a deployment of that many sacks sound again, as far as what is stored
// allows, and calls report for whatever it has changed. No server may be at work on it.
// A layout that is missing or damaged is written anew. A segment that can't be read is
// copied to quarantine/ and left out; a state segment is made again of what the others
// hold; a manifest that is missing or damaged is made again of what the sack's folder
// holds, once a store that is a Mender has listed all of that. What was written by a newer version is not touched.
func Repair(ctx context.Context, store Store, sacks int, report func(Repaired)) error {
	found, err := mendStore(ctx, store)
	if err != nil {
		return err
	}
	layout, err := repairLayout(ctx, store, sacks, report)
	if err != nil {
		return err
	}
	d := &Driver{store: store, sacks: sacks, config: Config{}.withDefaults(), views: make([]viewSlot, sacks)}
	d.layout.Store(&layout)
	d.files = newCache(store, d.config.CacheBytes, &d.stats.segmentsRead)
	for sack := range ingest.Sack(sacks) {
		r := &repair{driver: d, sack: sack, out: Repaired{Sack: sack}}
		r.w = &writer{driver: d, sack: sack, unnamed: make(map[string]bool)}
		if n := found[sackPrefix(sack)]; n > 0 {
			r.did("found %d objects that were stored and not listed", n)
		}
		if err := r.run(ctx); err != nil {
			return fmt.Errorf("cannot repair sack %d: %w", sack, err)
		}
		if len(r.out.Did) > 0 {
			report(r.out)
		}
	}
	return nil
}

// mendStore has a store that can do so find what it has lost sight of, before anything is taken
// for missing. It returns of how many objects that was so, by sack's prefix.
func mendStore(ctx context.Context, store Store) (map[string]int, error) {
	mender, ok := store.(Mender)
	if !ok {
		return nil, nil
	}
	names, err := mender.Mend(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot mend the storage's own list of objects: %w", err)
	}
	found := make(map[string]int)
	for _, name := range names {
		folder, _ := path.Split(name)
		found[folder]++
	}
	return found, nil
}

// repairLayout returns the layout, having written it anew if need be. Which deployment it
// is the manifests say.
func repairLayout(ctx context.Context, store Store, sacks int, report func(Repaired)) (Layout, error) {
	l, err := ReadLayout(ctx, store)
	switch {
	case err == nil && l.Sacks == sacks:
		return l, nil
	case err == nil:
		return l, fmt.Errorf("the storage was created with %d sacks and the configuration says %d", l.Sacks, sacks)
	case errors.Is(err, ingest.ErrNewer) || isStoreError(ctx, err):
		return l, err
	}
	l = Layout{Format: layoutVersion, Sacks: sacks}
	for sack := range ingest.Sack(sacks) {
		if m, _, err := readManifest(ctx, store, sack, ""); err == nil {
			l.Deployment = m.Deployment
			break
		}
	}
	if l.Deployment == "" {
		return l, fmt.Errorf("%s is lost, and so is every manifest: which deployment this was can't be told: %w", layoutName,
			err)
	}
	data, err := json.Marshal(l)
	if err != nil {
		return l, err
	}
	old, err := versionOf(ctx, store, layoutName)
	if err == nil {
		_, err = store.Swap(ctx, layoutName, old, append(data, '\n'), nil)
	}
	if err != nil {
		return l, fmt.Errorf("cannot write %s: %w", layoutName, err)
	}
	report(Repaired{Sack: -1, Did: []string{fmt.Sprintf("wrote %s anew: %d sacks, deployment %s", layoutName, sacks,
		l.Deployment)}})
	return l, nil
}

// isStoreError says whether an error of a read says nothing about what is stored.
func isStoreError(ctx context.Context, err error) bool {
	if _, ok := errors.AsType[*storeError](err); ok && !errors.Is(err, ErrNotFound) {
		return true
	}
	return ctx.Err() != nil
}

// versionOf is the version of an object whatever it holds; empty when there is none.
func versionOf(ctx context.Context, store Store, name string) (Version, error) {
	got, err := store.Read(ctx, name, "", []Range{{Off: 0, Len: 1}})
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	if err == nil && got.Version == "" {
		got, err = store.Read(ctx, name, "", nil)
	}
	return got.Version, err
}

// A repair is that of one sack.
type repair struct {
	driver *Driver
	sack   ingest.Sack
	w      *writer // of which only sinks and scans are used
	out    Repaired

	manifest *manifest // the stored one; nil when it is lost
	good     []entry
	bad      []entry // of which Name is known, and what the manifest or the name says
}

func (r *repair) did(format string, args ...any) {
	r.out.Did = append(r.out.Did, fmt.Sprintf(format, args...))
}

func (r *repair) lost(format string, args ...any) {
	r.out.Lost = append(r.out.Lost, fmt.Sprintf(format, args...))
}

func (r *repair) run(ctx context.Context) error {
	m, version, err := readManifest(ctx, r.driver.store, r.sack, "")
	if _, damaged := errors.AsType[*damagedError](err); err != nil && !damaged {
		return err
	}
	if m != nil && m.unknown != nil {
		return m.unknown
	}
	if r.manifest = m; m == nil {
		r.did("%v", err)
		if version, err = versionOf(ctx, r.driver.store, manifestName(r.sack)); err != nil {
			return err
		}
	}
	if err := r.examine(ctx); err != nil || m != nil && len(r.bad) == 0 {
		return err
	}
	for _, s := range r.bad {
		if err := r.putAside(ctx, s); err != nil {
			return err
		}
	}
	next, err := r.rebuild(ctx)
	if err != nil {
		return err
	}
	before := &manifest{}
	if m != nil {
		before = m
	}
	if _, err := r.driver.store.Swap(ctx, manifestName(r.sack), version, next.encode(),
		next.additions(r.sack, before)); err != nil {
		return fmt.Errorf("cannot swap %s: %w", manifestName(r.sack), err)
	}
	r.did("wrote %s: %d segments, applied up to %d", manifestName(r.sack), len(next.Segments), next.Applied.Offset)
	return nil
}

// examine reads every segment that the manifest names, or that lies in the folder if
// there is no manifest.
func (r *repair) examine(ctx context.Context) error {
	entries, err := r.candidates(ctx)
	if err != nil {
		return err
	}
	for _, s := range entries {
		name := sackPrefix(r.sack) + s.Name
		f, err := segment.Open(ctx, r.driver.files, name, s.Bytes)
		var info segment.Info
		if err == nil {
			info, err = f.Describe(ctx)
		}
		if err == nil && r.manifest != nil && info != s.Info {
			err = fmt.Errorf("segment %s is another than the manifest says", name)
		}
		switch {
		case isStoreError(ctx, err):
			return err
		case err != nil:
			r.did("left out %s: %v", name, err)
			r.bad = append(r.bad, s)
		default:
			s.Info = info
			r.good = append(r.good, s)
		}
	}
	return nil
}

func (r *repair) candidates(ctx context.Context) (entries []entry, err error) {
	if r.manifest != nil {
		return r.manifest.Segments, nil
	}
	objects, err := r.driver.store.List(ctx, sackPrefix(r.sack))
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if strings.HasSuffix(o.Name, segmentSuffix) {
			s := entry{Name: path.Base(o.Name), Info: segment.Info{Bytes: o.Size}}
			s.From, s.To, _ = offsetsOf(s.Name)
			entries = append(entries, s)
		}
	}
	return entries, nil
}

// putAside copies a segment that can't be read to quarantine/, and says what was in it.
func (r *repair) putAside(ctx context.Context, s entry) error {
	name := sackPrefix(r.sack) + s.Name
	what := fmt.Sprintf("of records %d to %d", s.From, s.To)
	if r.manifest != nil && s.Rows > 0 {
		what = fmt.Sprintf("%d %s rows of metrics %s to %s, times %s to %s, of records %d to %d", s.Rows, s.Kind,
			s.MinMetric, s.MaxMetric,
			time.Unix(0, s.MinTime).UTC().Format(time.RFC3339Nano), time.Unix(0, s.MaxTime).UTC().Format(time.RFC3339Nano),
			s.From, s.To)
	}
	if s.Kind != segment.State {
		r.lost("%s: %s", name, what)
	}
	got, err := r.driver.store.Read(ctx, name, "", nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		err = r.driver.store.Put(ctx, quarantine+name, got.Data[0])
	}
	if err != nil {
		return fmt.Errorf("cannot put %s aside: %w", name, err)
	}
	r.did("copied %s to %s", name, quarantine+name)
	return nil
}

// of returns the good segments of a kind, raw ones in the order of the log.
func (r *repair) of(k segment.Kind) []entry {
	list := slices.DeleteFunc(slices.Clone(r.good), func(s entry) bool { return s.Kind != k })
	if r.manifest == nil && k == segment.Raw {
		// Where a merged segment and what it was made of are both there, what was written last
		// to a timestamp is in the one that reaches furthest.
		slices.SortStableFunc(list, func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.To, b.To),
				cmp.Compare(b.From, a.From))
		})
	}
	return list
}

// rebuild makes the next manifest, and the segments that it needs.
func (r *repair) rebuild(ctx context.Context) (*manifest, error) {
	now := r.driver.config.Now().UTC()
	if r.manifest != nil {
		next := r.manifest.clone()
		if err := next.replace(r.bad, nil, now); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(r.bad, func(s entry) bool { return s.Kind != segment.Sealed }) {
			state, err := r.rebuildState(ctx, r.manifest.deleted())
			if err != nil {
				return nil, err
			}
			if err := next.replace(next.of(segment.State), state, now); err != nil {
				return nil, err
			}
		}
		r.stamp(next, r.manifest.Epoch, r.manifest.Version)
		return next, nil
	}
	next := &manifest{Format: layoutVersion, Deployment: r.driver.layout.Load().Deployment}
	epoch, err := r.learn(ctx, next)
	if err != nil {
		return nil, err
	}
	raw, err := r.rebuildRaw(ctx, next.Applied.Offset)
	if err != nil {
		return nil, err
	}
	state, err := r.rebuildState(ctx, nil)
	if err != nil {
		return nil, err
	}
	sealed, err := r.rebuildSealed(ctx)
	if err != nil {
		return nil, err
	}
	next.Segments = slices.Concat(raw, state, sealed)
	next.LastSeal.At = now
	for _, s := range slices.Concat(r.good, r.bad) {
		next.Garbage = append(next.Garbage, garbage{s.Name, now})
	}
	r.lost("of sack %d: which metrics had been deleted lately, and measures that were dropped as late since the last "+
		"seal may count twice", r.sack)
	r.stamp(next, epoch, 0)
	return next, nil
}

// stamp makes a manifest one that nobody has seen, and of nobody's tenure.
func (r *repair) stamp(m *manifest, epoch, version uint64) {
	m.Epoch, m.Version, m.Tenure, m.Swap = epoch+1, version+1, newID(), newID()
}

// learn takes from the segments how far the sack was applied, and from its neighbours
// of which log.
func (r *repair) learn(ctx context.Context, next *manifest) (epoch uint64, err error) {
	for _, s := range slices.Concat(r.good, r.bad) {
		next.Applied.Offset = max(next.Applied.Offset, s.To)
	}
	for sack := range ingest.Sack(r.driver.sacks) {
		m, _, err := readManifest(ctx, r.driver.store, sack, "")
		if err != nil {
			continue
		}
		if epoch = max(epoch, m.Epoch); next.Applied.Log.ID == "" {
			next.Applied.Log = m.Applied.Log
		}
	}
	return epoch, ctx.Err()
}

// rebuildRaw makes one run of all raw segments, which may hold the same rows.
func (r *repair) rebuildRaw(ctx context.Context, applied ingest.Offset) ([]entry, error) {
	raw := r.of(segment.Raw)
	merge, err := r.w.newRawMerge(ctx, raw)
	if err != nil {
		return nil, err
	}
	defer merge.close()
	enc := r.driver.rawEncoder()
	enc.Late(merge.lateTotals(nil))
	from, to := bounds(raw, applied)
	out := r.w.newSink(enc, entry{Info: segment.Info{Kind: segment.Raw}, From: from, To: to, Level: remainderLevel})
	for merge.next() {
		if err := out.addRaw(ctx, segment.RawRun{Metric: merge.metric, Policy: merge.policy,
			Measures: merge.measures}); err != nil {
			return nil, err
		}
	}
	if err := merge.err(); err != nil {
		return nil, err
	}
	return out.segments, out.close(ctx, len(merge.late) > 0)
}

// rebuildState makes a state segment of what is known of every metric: the old state,
// its newest raw measure, its late counts, and which of its buckets are sealed.
func (r *repair) rebuildState(ctx context.Context, deleted map[ingest.MetricID]bool) ([]entry, error) {
	rows := make(map[ingest.MetricID]*segment.StateRow)
	row := func(id ingest.MetricID) *segment.StateRow {
		if rows[id] == nil {
			rows[id] = &segment.StateRow{Metric: id, Newest: ingest.MinTime, Sealed: ingest.MinTime}
		}
		return rows[id]
	}
	var from, to ingest.Offset
	for _, s := range r.of(segment.State) {
		to = max(to, s.To)
		if err := r.scanState(ctx, s, row); err != nil {
			return nil, err
		}
	}
	for _, s := range r.of(segment.Sealed) {
		if err := r.scanSealed(ctx, s, row); err != nil {
			return nil, err
		}
	}
	for _, s := range r.of(segment.Raw) {
		to = max(to, s.To)
		if err := r.scanRaw(ctx, s, row); err != nil {
			return nil, err
		}
	}
	out := r.w.newSink(segment.NewStateWriter(), entry{Info: segment.Info{Kind: segment.State}, From: from, To: to})
	for _, id := range sortedMetrics(rows) {
		if deleted[id] {
			continue
		}
		if err := out.addState(ctx, *rows[id]); err != nil {
			return nil, err
		}
	}
	if err := out.close(ctx, false); err != nil {
		return nil, err
	}
	r.did("made the state of %d metrics again", len(rows))
	return out.segments, nil
}

func (r *repair) scanState(ctx context.Context, s entry, row func(ingest.MetricID) *segment.StateRow) error {
	f, err := r.w.open(ctx, s)
	if err != nil {
		return err
	}
	scan := f.ScanState(ctx)
	for scan.Next() {
		got, known := scan.Row(), row(scan.Row().Metric)
		known.Policy, known.Newest = got.Policy, max(known.Newest, got.Newest)
		known.Late, known.Sealed = max(known.Late, got.Late), max(known.Sealed, got.Sealed)
	}
	return scan.Err()
}

func (r *repair) scanSealed(ctx context.Context, s entry, row func(ingest.MetricID) *segment.StateRow) error {
	f, err := r.w.open(ctx, s)
	if err != nil {
		return err
	}
	scan := f.ScanSealed(ctx)
	for scan.Next() {
		run := scan.Run()
		known, end := row(run.Metric), run.Times[len(run.Times)-1]+int64(run.Granularity)
		known.Sealed, known.Newest = max(known.Sealed, end), max(known.Newest, end-1)
	}
	return scan.Err()
}

func (r *repair) scanRaw(ctx context.Context, s entry, row func(ingest.MetricID) *segment.StateRow) error {
	f, err := r.w.open(ctx, s)
	if err != nil {
		return err
	}
	totals, err := f.Lates()
	if err != nil {
		return err
	}
	for _, l := range totals {
		known := row(l.Metric)
		known.Late = max(known.Late, l.Late)
	}
	scan := f.ScanRaw(ctx)
	for scan.Next() {
		run := scan.Run()
		known := row(run.Metric)
		known.Policy = run.Policy
		known.Newest = max(known.Newest, run.Measures[len(run.Measures)-1].Time)
	}
	return scan.Err()
}

// rebuildSealed makes one run of all sealed segments, of which several may hold the
// same bucket: where a merge and what it was made of are both there.
func (r *repair) rebuildSealed(ctx context.Context) ([]entry, error) {
	sealed := r.of(segment.Sealed)
	merge, methods, err := r.w.newSealedMerge(ctx, sealed)
	if err != nil {
		return nil, err
	}
	defer merge.close()
	from, to := bounds(sealed, 0)
	out := r.w.newSink(segment.NewSealedWriter(methods), entry{Info: segment.Info{Kind: segment.Sealed}, From: from,
		To: to})
	series := newSealedSeries(len(methods))
	for i := merge.least(); i >= 0; i = merge.least() {
		head := &merge.runs[i].head
		if series.is(head) || len(series.rows) == 0 {
			series.add(head, merge.columns[i])
			merge.runs[i].advance()
			continue
		}
		if err := out.addSealed(ctx, series.take()); err != nil {
			return nil, err
		}
	}
	if merge.failed != nil {
		return nil, merge.failed
	}
	if len(series.rows) > 0 {
		if err := out.addSealed(ctx, series.take()); err != nil {
			return nil, err
		}
	}
	return out.segments, out.close(ctx, false)
}

// A sealedSeries collects the rows of one metric and granularity, in any order.
type sealedSeries struct {
	metric      ingest.MetricID
	granularity time.Duration
	rows        []sealedRow
	methods     int
}

type sealedRow struct {
	time    int64
	values  []float64
	present []bool
}

func newSealedSeries(methods int) *sealedSeries { return &sealedSeries{methods: methods} }

func (s *sealedSeries) is(run *segment.SealedRun) bool {
	return s.metric == run.Metric && s.granularity == run.Granularity
}

func (s *sealedSeries) add(run *segment.SealedRun, column []int) {
	s.metric, s.granularity = run.Metric, run.Granularity
	for i, t := range run.Times {
		row := sealedRow{t, make([]float64, s.methods), make([]bool, s.methods)}
		for k, c := range column {
			if run.Present[k] != nil && run.Present[k][i] {
				row.values[c], row.present[c] = run.Values[k][i], true
			}
		}
		s.rows = append(s.rows, row)
	}
}

// take returns the rows, ascending and unique, and begins anew.
func (s *sealedSeries) take() segment.SealedRun {
	slices.SortStableFunc(s.rows, func(a, b sealedRow) int { return cmp.Compare(a.time, b.time) })
	s.rows = slices.CompactFunc(s.rows, func(a, b sealedRow) bool { return a.time == b.time })
	run := segment.SealedRun{
		Metric: s.metric, Granularity: s.granularity,
		Values: make([][]float64, s.methods), Present: make([][]bool, s.methods),
	}
	for _, row := range s.rows {
		run.Times = append(run.Times, row.time)
	}
	for k := range s.methods {
		if !slices.ContainsFunc(s.rows, func(row sealedRow) bool { return row.present[k] }) {
			continue
		}
		for _, row := range s.rows {
			run.Values[k], run.Present[k] = append(run.Values[k], row.values[k]), append(run.Present[k], row.present[k])
		}
	}
	s.rows = s.rows[:0]
	return run
}
