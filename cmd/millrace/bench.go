package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"millrace/benchmarks"
	"millrace/ingest"
)

// benchOptions are the flags of bench that a load doesn't have.
type benchOptions struct {
	metrics        int
	policy, ids    string
	start          string
	asJSON, accept bool
}

func newBench(source *configSource) *cobra.Command {
	var flags clientFlags
	var load benchmarks.Load
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Put a running server under load",
		Long: `Bench posts measures to a running server as fast as it answers, or at the rate given, and reports rates,
latencies and, from the server's /metrics, the CPU time that it took. Measures are stamped --step apart from
--start on, each round of requests bringing every metric's next ones.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			load.URL, load.User = c.base.String(), c.user
			if load.Start, err = time.Parse(time.RFC3339, o.start); err != nil {
				return fmt.Errorf("--start: %w", err)
			}
			if load.Metrics, err = benchMetrics(cmd.Context(), c, &o, cmd.ErrOrStderr()); err != nil {
				return err
			}
			return runBench(cmd.Context(), load, &o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.add(cmd.PersistentFlags())
	cmd.AddCommand(newBenchRead(source, &flags), newBenchFreshness(source, &flags))
	f := cmd.Flags()
	f.IntVar(&o.metrics, "metrics", 1000, "metrics to send measures of")
	f.StringVar(&o.policy, "policy", "low", "archive policy of the metrics that are created")
	f.StringVar(&o.ids, "ids", "", "file that keeps the metrics' ids, so that another run can use them")
	f.IntVar(&load.Series, "series", 100, "metrics per request")
	f.IntVar(&load.Measures, "measures", 100, "measures per metric and request")
	f.IntVar(&load.Clients, "clients", 4, "requests at the same time")
	f.Int64Var(&load.Requests, "requests", 0, "how many requests; 0: until --duration is over")
	f.DurationVar(&load.Duration, "duration", 0, "how long; 0: until --requests have been answered")
	f.Float64Var(&load.Rate, "rate", 0, "measures per second to hold to; 0: as fast as the answers come")
	f.StringVar(&o.start, "start", time.Now().UTC().Add(-12*time.Hour).Truncate(time.Hour).Format(time.RFC3339), "time of the first measures")
	f.DurationVar(&load.Step, "step", time.Second, "time from one measure of a metric to its next")
	f.BoolVar(&o.accept, "accept-only", false, "don't wait until everything has been applied")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	return cmd
}

// newBenchRead measures reads.
func newBenchRead(source *configSource, flags *clientFlags) *cobra.Command {
	var reads benchmarks.Reads
	var o benchOptions
	points := 0
	cmd := &cobra.Command{
		Use:   "read",
		Short: "Read series of metrics chosen at random",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			reads.URL, reads.User = c.base.String(), c.user
			if reads.Start, err = time.Parse(time.RFC3339, o.start); err != nil {
				return fmt.Errorf("--start: %w", err)
			}
			reads.Stop = reads.Start.Add(time.Duration(points) * reads.Granularity)
			if reads.Metrics, err = benchMetrics(cmd.Context(), c, &o, cmd.ErrOrStderr()); err != nil {
				return err
			}
			result, err := benchmarks.Read(cmd.Context(), reads)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.metrics, "metrics", 1000, "metrics to choose from")
	f.StringVar(&o.ids, "ids", "", "file that has the metrics' ids")
	f.StringVar(&reads.Aggregation, "aggregation", "mean", "aggregation method")
	f.DurationVar(&reads.Granularity, "granularity", time.Minute, "granularity")
	f.StringVar(&o.start, "start", time.Now().UTC().Add(-24*time.Hour).Format(time.RFC3339), "start of the range")
	f.IntVar(&points, "points", 1440, "length of the range, in buckets")
	f.IntVar(&reads.Clients, "clients", 1, "requests at the same time")
	f.Int64Var(&reads.Requests, "requests", 1000, "how many requests")
	return cmd
}

// newBenchFreshness measures the time from acknowledged to readable.
func newBenchFreshness(source *configSource, flags *clientFlags) *cobra.Command {
	var load benchmarks.Load
	var o benchOptions
	writes, interval, nudge := 0, time.Duration(0), false
	cmd := &cobra.Command{
		Use:   "freshness",
		Short: "Measure the time from a measure's acknowledgement until it can be read",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			load.URL, load.User, load.Start = c.base.String(), c.user, time.Now()
			if load.Metrics, err = benchMetrics(cmd.Context(), c, &o, cmd.ErrOrStderr()); err != nil {
				return err
			}
			result, err := benchmarks.MeasureFreshness(cmd.Context(), load, writes, interval, nudge)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.metrics, "metrics", 100, "metrics to write to")
	f.StringVar(&o.policy, "policy", "low", "archive policy of the metrics that are created")
	f.StringVar(&o.ids, "ids", "", "file that keeps the metrics' ids")
	f.IntVar(&writes, "writes", 500, "how many measures")
	f.DurationVar(&interval, "interval", 20*time.Millisecond, "time from one write to the next")
	f.BoolVar(&nudge, "nudge", false, "ask the server to wait, which makes it hurry")
	return cmd
}

// benchMetrics returns the metrics of an earlier run, or creates them.
func benchMetrics(ctx context.Context, c *client, o *benchOptions, errOut io.Writer) ([]ingest.MetricID, error) {
	var ids []ingest.MetricID
	if o.ids != "" {
		file, err := os.Open(o.ids)
		if err == nil {
			defer file.Close()
			for lines := bufio.NewScanner(file); lines.Scan(); {
				id, err := ingest.ParseMetricID(lines.Text())
				if err != nil {
					return nil, fmt.Errorf("%s: %w", o.ids, err)
				}
				ids = append(ids, id)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if len(ids) >= o.metrics {
		return ids[:o.metrics], nil
	}
	made, err := benchmarks.CreateMetrics(ctx, c.base.String(), c.user, o.policy, o.metrics-len(ids), func(n int) {
		fmt.Fprintf(errOut, "\r%d metrics created", n)
	})
	if err != nil {
		return nil, err
	}
	fmt.Fprint(errOut, "\r\033[K")
	ids = append(ids, made...)
	if o.ids != "" {
		var text []byte
		for _, id := range ids {
			text = append(id.AppendText(text), '\n')
		}
		return ids, os.WriteFile(o.ids, text, 0o600)
	}
	return ids, nil
}

func runBench(ctx context.Context, load benchmarks.Load, o *benchOptions, out, errOut io.Writer) error {
	before, usageErr := benchmarks.MeasureUsage(ctx, load.URL)
	began := time.Now()
	last := benchmarks.Live{}
	result, err := benchmarks.Run(ctx, load, func(l benchmarks.Live) {
		rate := float64(l.Measures-last.Measures) / (l.Elapsed - last.Elapsed).Seconds()
		fmt.Fprintf(errOut, "\r\033[K%6.1fs %12d measures %10.0f/s  p50 %s p99 %s  %d refused", l.Elapsed.Seconds(), l.Measures, rate,
			l.P50.Round(10*time.Microsecond), l.P99.Round(10*time.Microsecond), l.Refused)
		last = l
	})
	fmt.Fprint(errOut, "\r\033[K")
	if err != nil {
		return err
	}
	million := float64(result.Accepted) / 1e6
	if usageErr == nil {
		after, err := benchmarks.MeasureUsage(ctx, load.URL)
		if err != nil {
			return err
		}
		result.AcceptCPU, result.Resident = after.CPU-before.CPU, after.Resident
		result.AcceptPerM = result.AcceptCPU / million
	}
	if !o.accept {
		if err := benchmarks.AwaitApplied(ctx, load.URL, load.User); err != nil {
			return err
		}
		result.Applied = time.Since(began).Seconds()
		if usageErr == nil {
			after, err := benchmarks.MeasureUsage(ctx, load.URL)
			if err != nil {
				return err
			}
			result.TotalCPU, result.Resident = after.CPU-before.CPU, after.Resident
			result.TotalPerM = result.TotalCPU / million
		}
	}
	if o.asJSON {
		return json.NewEncoder(out).Encode(result)
	}
	printBench(out, &result)
	return nil
}

func printBench(out io.Writer, r *benchmarks.Result) {
	fmt.Fprintf(out, "%d requests of %d metrics × %d measures, %d clients: %d measures accepted in %.2f s (%.0f/s), %d refusals\n",
		r.Requests, r.Series, r.Measures, r.Clients, r.Accepted, r.Seconds, r.Rate, r.Refused)
	if r.Refusal != "" {
		fmt.Fprintf(out, "the first refusal: %s\n", r.Refusal)
	}
	fmt.Fprintf(out, "latency ms: p50 %.2f  p90 %.2f  p99 %.2f  max %.2f\n", r.P50, r.P90, r.P99, r.Max)
	if r.Applied > 0 {
		fmt.Fprintf(out, "all applied and readable after %.2f s (%.0f/s)\n", r.Applied, float64(r.Accepted)/r.Applied)
	}
	if r.AcceptCPU > 0 {
		fmt.Fprintf(out, "server CPU: %.2f s until accepted (%.3f s per million measures)", r.AcceptCPU, r.AcceptPerM)
		if r.TotalCPU > 0 {
			fmt.Fprintf(out, ", %.2f s until applied (%.3f s per million)", r.TotalCPU, r.TotalPerM)
		}
		fmt.Fprintf(out, "; resident %.0f MiB\n", r.Resident/(1<<20))
	}
}
