package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"millrace/api/gnocchi"
	"millrace/ingest"
)

// importOptions are the flags of import.
type importOptions struct {
	policy, metricColumn, state string
	batch                       int
	quiet                       bool
}

func newImport(source *configSource) *cobra.Command {
	var flags clientFlags
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import [flags] FILE|FOLDER...",
		Short: "Import measures from CSV files",
		Long: `Import reads CSV files with the columns timestamp and value into a running server. Each file is one
metric, called as the file is; or a column, which --metric-column names, says whose measure a row is.
Metrics are created as needed.

An import that was interrupted goes on where it was when it is run again: what has been acknowledged is
remembered in the file that --state names, with the ids of the metrics.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			if o.batch < 1 {
				return errors.New("--batch must be at least 1")
			}
			files, err := findCSV(args)
			if err != nil {
				return err
			}
			return runImport(cmd.Context(), c, files, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().StringVar(&o.policy, "policy", "", "archive policy of metrics that are created [by the server's rules]")
	cmd.Flags().StringVar(&o.metricColumn, "metric-column", "", "column that names each row's metric")
	cmd.Flags().StringVar(&o.state, "state", ".millrace-import.json", "file that remembers what has been imported")
	cmd.Flags().IntVar(&o.batch, "batch", 10_000, "measures per request")
	cmd.Flags().BoolVar(&o.quiet, "quiet", false, "no progress bar")
	return cmd
}

// An importer sends the rows of files to a server.
type importer struct {
	client  *client
	options importOptions
	state   *importState
	bar     *progressbar.ProgressBar
	errOut  io.Writer

	entries map[string][]ingest.Measure // by metric name, of the batch being filled
	order   []string
	filled  int
	used    map[string]uint64 // metrics of this run → late count when it began
	last    map[string]string // the position of each metric's last batch
	shown   int               // complaints printed
}

// runImport imports files and says what became of their rows.
func runImport(ctx context.Context, c *client, files []importFile, o importOptions, out, errOut io.Writer) error {
	state, err := loadImportState(o.state, c.base.String())
	if err != nil {
		return err
	}
	total := int64(0)
	for _, f := range files {
		total += f.size
	}
	im := &importer{
		client: c, options: o, state: state, errOut: errOut,
		entries: make(map[string][]ingest.Measure), used: make(map[string]uint64), last: make(map[string]string),
	}
	im.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(errOut), progressbar.OptionShowBytes(true),
		progressbar.OptionSetVisibility(!o.quiet && isTerminal(errOut)), progressbar.OptionSetDescription("importing"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	before := sumImports(state, files)
	began := time.Now()
	done := int64(0)
	for _, f := range files {
		if err := im.file(ctx, f, done); err != nil {
			return fmt.Errorf("%w\nRun the same command again to go on: what was acknowledged is remembered in %s", err, o.state)
		}
		done += f.size
		im.bar.Set64(done)
	}
	took := time.Since(began)
	im.bar.Finish()
	after := sumImports(state, files)
	accepted := after.Accepted - before.Accepted
	fmt.Fprintf(out, "%d files, %d metrics: %d measures accepted and durable in %s (%.0f/s), %d refused",
		len(files), len(im.used), accepted, took.Round(time.Millisecond), float64(accepted)/took.Seconds(), after.Refused-before.Refused)
	if before.Rows > 0 {
		fmt.Fprintf(out, ", %d rows known from an earlier run", before.Rows)
	}
	fmt.Fprintln(out)
	return im.fate(ctx, out)
}

func sumImports(s *importState, files []importFile) fileImport {
	var sum fileImport
	for _, f := range files {
		if one := s.Files[absolute(f.path)]; one != nil {
			sum.Rows += one.Rows
			sum.Accepted += one.Accepted
			sum.Refused += one.Refused
		}
	}
	return sum
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// file imports one file from where an earlier run has come to.
func (im *importer) file(ctx context.Context, f importFile, before int64) error {
	progress := im.state.file(absolute(f.path))
	rows, err := openCSV(f.path, f.name, im.options.metricColumn, time.Now())
	if err != nil {
		return err
	}
	defer rows.close()
	seen, refused := int64(0), int64(0)
	flush := func() error {
		accepted, left, err := im.send(ctx)
		if err != nil {
			return fmt.Errorf("%s: row %d and after: %w", f.path, progress.Rows+1, err)
		}
		progress.Accepted += accepted
		progress.Refused += left + refused
		progress.Rows, refused = seen, 0
		im.bar.Set64(before + rows.position())
		return im.state.save()
	}
	for {
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if seen++; seen <= progress.Rows {
			continue
		}
		if row.bad != nil {
			refused++
			im.complain("%s:%d: %v", f.path, row.line, row.bad)
			continue
		}
		im.add(row)
		if im.filled >= im.options.batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	progress.Done = true
	return flush()
}

func (im *importer) add(row csvRow) {
	if _, ok := im.entries[row.metric]; !ok {
		im.order = append(im.order, row.metric)
	}
	im.entries[row.metric] = append(im.entries[row.metric], row.measure)
	im.filled++
}

// maxComplaints bounds the rows whose refusal is printed.
const maxComplaints = 20

func (im *importer) complain(format string, args ...any) {
	if im.shown++; im.shown <= maxComplaints {
		fmt.Fprintf(im.errOut, format+"\n", args...)
	} else if im.shown == maxComplaints+1 {
		fmt.Fprintln(im.errOut, "(further refused rows are only counted)")
	}
}

// send posts the batch that has been filled, creating its metrics where they are new.
func (im *importer) send(ctx context.Context) (accepted, refused int64, err error) {
	if im.filled == 0 {
		return 0, 0, nil
	}
	body := []byte{'{'}
	for i, name := range im.order {
		id, err := im.metric(ctx, name)
		if err != nil {
			return 0, 0, err
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(append(body, '"'), id...), `":[`...)
		for j, m := range im.entries[name] {
			if j > 0 {
				body = append(body, ',')
			}
			body = append(body, `{"timestamp":"`...)
			body = gnocchi.AppendTime(body, m.Time)
			body = append(body, `","value":`...)
			body = append(strconv.AppendFloat(body, m.Value, 'g', -1, 64), '}')
		}
		body = append(body, ']')
	}
	doc, err := im.post(ctx, append(body, '}'))
	if err != nil {
		return 0, 0, err
	}
	for _, r := range doc.Rejects {
		im.complain("the server refuses a measure of metric %s: %s", r.Metric, r.Reason)
	}
	clear(im.entries)
	im.order, im.filled = im.order[:0], 0
	return doc.Accepted, doc.Refused, nil
}

// ingestDoc is what the commands read of the answer to a write.
type ingestDoc struct {
	State    string `json:"state"`
	Accepted int64  `json:"accepted"`
	Refused  int64  `json:"refused"`
	Rejected int64  `json:"rejected"`
	Rejects  []struct {
		Metric string `json:"metric"`
		Reason string `json:"reason"`
	} `json:"rejects"`
}

// importPatience is how long an import goes on trying while the server says to
// come back later, or can't be reached.
const importPatience = 5 * time.Minute

// post sends a batch until the server takes it: sending again what it may have is safe.
func (im *importer) post(ctx context.Context, body []byte) (ingestDoc, error) {
	deadline := time.Now().Add(importPatience)
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		var doc ingestDoc
		header, err := im.client.lenient(ctx, "/batch/metrics/measures", body, &doc)
		if err == nil {
			for _, name := range im.order {
				im.last[name] = header.Get("Millrace-Position")
			}
			return doc, nil
		}
		refusal, answered := errors.AsType[*apiError](err)
		if answered && refusal.status != http.StatusServiceUnavailable && refusal.status != http.StatusTooManyRequests {
			return doc, err
		}
		if answered {
			pause = max(pause, refusal.retryAfter)
		}
		if time.Now().Add(pause).After(deadline) {
			return doc, err
		}
		select {
		case <-ctx.Done():
			return doc, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// metric returns the id of a metric, creating it if this import has not yet.
func (im *importer) metric(ctx context.Context, name string) (string, error) {
	id, known := im.state.Metrics[name]
	if !known {
		in := map[string]string{"name": name}
		if im.options.policy != "" {
			in["archive_policy_name"] = im.options.policy
		}
		var made struct{ ID string }
		if _, err := im.client.do(ctx, "POST", "/metric", nil, in, &made); err != nil {
			return "", fmt.Errorf("cannot create metric %s: %w", name, err)
		}
		id = made.ID
		im.state.Metrics[name] = id
		if err := im.state.save(); err != nil {
			return "", err
		}
	}
	if _, ok := im.used[id]; !ok {
		late, err := im.late(ctx, id)
		if err != nil {
			return "", fmt.Errorf("metric %s, known from %s: %w", name, im.options.state, err)
		}
		im.used[id] = late
	}
	return id, nil
}

// late asks how many measures of a metric have been dropped because they came too late.
func (im *importer) late(ctx context.Context, id string) (uint64, error) {
	header, err := im.client.do(ctx, "GET", "/metric/"+url.PathEscape(id), nil, nil, nil)
	if err != nil {
		return 0, err
	}
	late, _ := strconv.ParseUint(header.Get("Millrace-Late"), 10, 64)
	return late, nil
}

// fate waits until all has been applied, and says how much came too late or could
// not be applied.
func (im *importer) fate(ctx context.Context, out io.Writer) error {
	deadline := time.Now().Add(importPatience)
	for _, position := range slices.Compact(slices.Sorted(maps.Values(im.last))) {
		for done := false; !done; {
			if time.Now().After(deadline) {
				return errors.New("the server is still applying what it accepted: see millrace status")
			}
			var doc ingestDoc
			if err := im.client.await(ctx, position, &doc); err != nil {
				return err
			}
			done = doc.State != "queued"
		}
	}
	late := uint64(0)
	for _, id := range slices.Sorted(maps.Keys(im.used)) {
		now, err := im.late(ctx, id)
		if err != nil {
			return err
		}
		late += now - im.used[id]
	}
	fmt.Fprintf(out, "all of it has been applied and can be read; %d measures came too late and were dropped\n", late)
	var letters []json.RawMessage
	if _, err := im.client.do(ctx, "GET", "/dead-letters", url.Values{"limit": {"1"}}, nil, &letters); err == nil && len(letters) > 0 {
		fmt.Fprintln(out, "there are dead letters: see millrace dead-letters list")
	}
	return nil
}
