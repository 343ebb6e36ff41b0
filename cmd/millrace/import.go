package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
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
		Long: `Import reads CSV files with the columns timestamp and value into a running server. A first row that names
these columns says where they are; without one they are the first two. Each file is one metric, called as the
file is; or a column, which --metric-column names, says whose measure a row is. Metrics are created as needed.

An import that was interrupted goes on where it was when it is run again: how much of each file has been
acknowledged is remembered in the file that --state names, with the ids of the metrics. What is appended to a
file later is imported by running the import again.`,
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
	sender
	bar *progressbar.ProgressBar
}

// runImport imports files and says what became of their rows.
func runImport(ctx context.Context, c *client, files []importFile, o importOptions, out, errOut io.Writer) error {
	if _, err := c.do(ctx, "GET", "", nil, nil, nil); err != nil { // later on it is waited for
		return err
	}
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
	before := state.sum(files)
	began := time.Now()
	done := int64(0)
	for _, f := range files {
		if err := im.file(ctx, f, done); err != nil {
			im.bar.Exit()
			return fmt.Errorf("%w\nRun the same command again to go on: what was acknowledged is remembered in %s", err, o.state)
		}
		done += f.size
	}
	took := time.Since(began)
	im.bar.Finish()
	after := state.sum(files)
	accepted := after.Accepted - before.Accepted
	fmt.Fprintf(out, "%d files, %d metrics: %d measures accepted and durable in %s (%.0f/s), %d rows refused",
		len(files), len(im.late), accepted, took.Round(time.Millisecond), float64(accepted)/took.Seconds(), after.Refused-before.Refused)
	if known := before.Accepted + before.Refused; known > 0 {
		fmt.Fprintf(out, "; %d rows are known from an earlier run", known)
	}
	fmt.Fprintln(out)
	return im.fate(ctx, out)
}

// file imports one file from where an earlier run has come to. The files before it
// have so many bytes.
func (im *importer) file(ctx context.Context, f importFile, before int64) error {
	progress := im.state.file(f.path)
	rows, err := openCSV(f.path, f.name, im.options.metricColumn, time.Now())
	if err != nil {
		return err
	}
	defer rows.close()
	if progress.Bytes > 0 {
		if err := rows.resume(progress); err != nil {
			return err
		}
		// A metric that is gone is an error even if nothing new is there to be sent.
		if im.options.metricColumn == "" && progress.Accepted > 0 {
			if err := im.prepare(ctx, []string{f.name}); err != nil {
				return err
			}
		}
	}
	refused := int64(0)
	flush := func() error {
		accepted, left, err := im.send(ctx)
		if err != nil {
			return fmt.Errorf("%s, line %d and before: %w", f.path, rows.line, err)
		}
		im.bar.Set64(before + rows.position())
		progress.Accepted += accepted
		progress.Refused += left + refused
		refused = 0
		if progress.Bytes, progress.SHA256, err = rows.progress(); err != nil {
			return err
		}
		return im.state.save()
	}
	for {
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
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
}

// fate waits until all has been applied, and says how much came too late or could
// not be applied.
func (im *importer) fate(ctx context.Context, out io.Writer) error {
	if err := im.applied(ctx); err != nil {
		return err
	}
	late, err := im.lateSince(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "all of it has been applied and can be read; %d measures came too late and were dropped\n", late)
	var letters []json.RawMessage
	if _, err := im.client.do(ctx, "GET", "/dead-letters", url.Values{"limit": {"1"}}, nil, &letters); err == nil && len(letters) > 0 {
		fmt.Fprintln(out, "there are dead letters: see millrace dead-letters list")
	}
	return nil
}
