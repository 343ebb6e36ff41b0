package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// importOptions are the flags of import.
type importOptions struct {
	policy, state string
	batch         int
	quiet         bool

	csv             csvOptions
	separator, unit string // as they are written
}

func newImport(source *configSource) *cobra.Command {
	var flags clientFlags
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import [flags] FILE|FOLDER...",
		Short: "Import measures from CSV files",
		Long: `Import reads CSV files with the columns timestamp and value into a running server. A first row that names
these columns says where they are; without one they are the first two. Each file is one metric, called as the
file is; or a column, which --metric-column names, says whose measure a row is; with --resource-column it is a
metric of a resource. Metrics and resources are created as needed.

Cells are separated by commas, semicolons or tabs, whichever fits the first row; between semicolons numbers may
have a decimal comma. Files packed with gzip or zstd are unpacked. In folders, files that end in .csv or .tsv are
read (also with .gz or .zst behind), and nothing whose name begins with a dot.

An import that was interrupted goes on where it was when it is run again: how much of each file has been
acknowledged is remembered in the file that --state names, with the ids of the metrics. What is appended to a
file later is imported by running the import again; a last line that has no line end yet waits for that.

Exit status:
  0  every row was accepted and applied
  1  it was not done, or not to its end: wrong usage, no server, a file that can't be read
  2  it was done, and rows were refused, or came too late, or could not be applied
  3  it was done, and in a file nothing could be read: the message says what was expected`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			if err := o.complete(); err != nil {
				return err
			}
			files, odd, err := findCSV(args)
			if len(odd) > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), oddFiles(odd))
			}
			if err != nil {
				return err
			}
			return runImport(cmd.Context(), c, files, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.add(cmd.Flags())
	o.add(cmd.Flags())
	return cmd
}

func (o *importOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.policy, "policy", "", "archive policy of metrics that are created [by the server's rules]")
	f.StringVar(&o.csv.time, "timestamp-column", "timestamp", "column that says when")
	f.StringVar(&o.csv.value, "value-column", "value", "column that says how much")
	f.StringVar(&o.csv.metric, "metric-column", "", "column that names each row's metric")
	f.StringVar(&o.csv.resource, "resource-column", "", "column with the id of the resource that each row's metric is of")
	f.StringVar(&o.csv.resourceType, "resource-type-column", "", "column with the type of new resources [generic]")
	f.StringVar(&o.separator, "separator", "", `what separates cells: "," or ";" or "tab" [what fits the first row]`)
	f.StringVar(&o.unit, "time-unit", "s", "what a timestamp counts that is a number: s, ms, us or ns since 1970")
	f.BoolVar(&o.csv.relativeTimes, "relative-times", false,
		"take times that depend on the clock: 12:00:00, now, -5 minutes")
	f.BoolVar(&o.csv.whole, "whole", false, "the files are complete: take a last line that has no line end")
	f.StringVar(&o.state, "state", ".millrace-import.json", "file that remembers what has been imported")
	f.IntVar(&o.batch, "batch", 10_000, "measures per request")
	f.BoolVar(&o.quiet, "quiet", false, "no progress bar")
}

// complete checks the flags and makes them what is meant.
func (o *importOptions) complete() error {
	if o.batch < 1 {
		return errors.New("--batch must be at least 1")
	}
	var known bool
	if o.csv.unit, known = timeUnits[o.unit]; !known {
		return fmt.Errorf("--time-unit %q is not known: want s, ms, us, ns", o.unit)
	}
	switch separator := strings.NewReplacer("tab", "\t", `\t`, "\t").Replace(o.separator); {
	case separator == "":
	case len(separator) == 1 && slices.Contains(separators, separator[0]):
		o.csv.separator = separator[0]
	default:
		return fmt.Errorf(`--separator %q is not known: want ",", ";", "tab"`, o.separator)
	}
	if o.csv.resource != "" && o.csv.metric == "" {
		return errors.New("--resource-column needs --metric-column: a resource's metrics have names")
	}
	if o.csv.resourceType != "" && o.csv.resource == "" {
		return errors.New("--resource-type-column needs --resource-column")
	}
	return nil
}

// An importer sends the rows of files to a server.
type importer struct {
	sender
	bar           *progressbar.ProgressBar
	hopelessFiles int // in which nothing fits
}

// The exit statuses of an import that was done.
const (
	exitRefused  = 2 // not every row was taken
	exitHopeless = 3 // in a file there was nothing that could be
)

// runImport imports files and says what became of their rows.
func runImport(ctx context.Context, c *client, files []importFile, o importOptions, out, errOut io.Writer) error {
	if err := o.reach(ctx, c); err != nil {
		return err
	}
	lock, err := lockImportState(o.state)
	if err != nil {
		return err
	}
	defer lock.Close()
	state, err := loadImportState(o.state, c.base.String())
	if err != nil {
		return err
	}
	total := int64(0)
	for _, f := range files {
		total += f.size
	}
	im := &importer{sender: newSender(c, o, state, errOut)}
	im.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(errOut), progressbar.OptionShowBytes(true),
		progressbar.OptionSetVisibility(!o.quiet && isTerminal(errOut)), progressbar.OptionSetDescription("importing"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	before, letters := state.sum(files), im.deadLetters(ctx)
	began := time.Now()
	done := int64(0)
	for _, f := range files {
		if err := im.file(ctx, f, done); err != nil {
			im.bar.Exit()
			return advise(ctx, err, o.state)
		}
		done += f.size
	}
	took := time.Since(began)
	im.bar.Finish()
	sum := state.sum(files)
	sum.Accepted, sum.Refused = sum.Accepted-before.Accepted, sum.Refused-before.Refused
	late, rejected, err := im.fate(ctx)
	if err != nil {
		return err
	}
	im.summary(out, len(files), sum, before, took)
	fmt.Fprintf(out, "all of it has been applied and can be read; %d measures came too late and were dropped\n", late)
	if new := im.deadLetters(ctx) - letters; new > 0 && letters >= 0 {
		fmt.Fprintf(out, "%d dead letters have come meanwhile: see millrace dead-letters list\n", new)
		rejected = max(rejected, new)
	}
	return im.verdict(sum.Refused, int64(late), rejected)
}

// reach checks that there is the server, and on it what the flags name: later on it is
// waited for.
func (o *importOptions) reach(ctx context.Context, c *client) error {
	if _, err := c.do(ctx, "GET", "", nil, nil, nil); err != nil || o.policy == "" {
		return err
	}
	_, err := c.do(ctx, "GET", "/archive_policy/"+url.PathEscape(o.policy), nil, nil, nil)
	if err != nil {
		return fmt.Errorf("--policy: %w", err)
	}
	return nil
}

// advise says how to go on after an error, where running the command again is how.
func advise(ctx context.Context, err error, state string) error {
	refusal, answered := errors.AsType[*apiError](err)
	passing := answered && (refusal.status >= 500 || refusal.status == http.StatusTooManyRequests)
	again := ctx.Err() != nil || isUnreachable(err) || passing
	if !again {
		return err
	}
	return fmt.Errorf("%w\nRun the same command again to go on: what was acknowledged is remembered in %s", err, state)
}

// summary says what was read and sent.
func (im *importer) summary(out io.Writer, files int, sum, before fileImport, took time.Duration) {
	fmt.Fprintf(out, "%d files, %d metrics: %d measures accepted and durable in %s (%.0f/s), %d rows refused",
		files, len(im.late), sum.Accepted, took.Round(time.Millisecond), float64(sum.Accepted)/took.Seconds(), sum.Refused)
	if known := before.Accepted + before.Refused; known > 0 {
		fmt.Fprintf(out, "; %d rows are known from an earlier run", known)
	}
	fmt.Fprintln(out)
}

// verdict is the error that an import ends with: none when every row was taken.
func (im *importer) verdict(refused, late, rejected int64) error {
	switch {
	case im.hopelessFiles > 0:
		return &exitError{exitHopeless, fmt.Errorf("in %d files nothing could be read", im.hopelessFiles)}
	case refused > 0 || late > 0 || rejected > 0:
		err := fmt.Errorf("not all was taken: %d rows refused, %d too late, %d not applied", refused, late, rejected)
		return &exitError{exitRefused, err}
	}
	return nil
}

// fate waits until all has been applied, and returns how much came too late and how
// much of the last batches could not be applied.
func (im *importer) fate(ctx context.Context) (late uint64, rejected int64, err error) {
	if rejected, err = im.applied(ctx); err != nil {
		return 0, 0, err
	}
	if im.options.csv.resource != "" {
		if err := im.countResources(ctx); err != nil {
			return 0, rejected, err
		}
	}
	late, err = im.lateSince(ctx)
	return late, rejected, err
}

// deadLetters asks how many dead letters there are; -1: that is not ours to know.
func (s *sender) deadLetters(ctx context.Context) int64 {
	var doc statusDoc
	if _, err := s.client.do(ctx, "GET", "/status", url.Values{"details": {"false"}}, nil, &doc); err != nil {
		return -1
	}
	return doc.DeadLetters
}
