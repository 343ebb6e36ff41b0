package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"millrace/benchmarks"
)

// benchOptions are the flags of bench that a load doesn't have.
type benchOptions struct {
	metrics     int
	policy, ids string // of the metrics to create; file that keeps their ids
	start       string
	asJSON      bool
	acceptOnly  bool

	resources   string // prefix of the resources that the metrics are of; none: of none
	perResource int
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
			if o.resources != "" {
				load.Batch = &benchmarks.ResourceBatch{
					Prefix: o.resources, Metrics: o.metrics, PerResource: o.perResource, Policy: o.policy,
				}
				err = load.Batch.CreateResources(cmd.Context(), load.URL, load.User)
			} else {
				load.Metrics, err = benchMetrics(cmd.Context(), c, &o, cmd.ErrOrStderr())
			}
			if err != nil {
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
	f.StringVar(&o.resources, "resources", "",
		"post by resource and name: metrics of resources called so and numbered, created on the way")
	f.IntVar(&o.perResource, "per-resource", 10, "metrics of each resource")
	f.IntVar(&load.Series, "series", 100, "metrics per request")
	f.IntVar(&load.Measures, "measures", 100, "measures per metric and request")
	f.IntVar(&load.Clients, "clients", 4, "requests at the same time")
	f.Int64Var(&load.Requests, "requests", 0, "how many requests; 0: until --duration is over")
	f.DurationVar(&load.Duration, "duration", 0, "how long; 0: until --requests have been answered")
	f.Float64Var(&load.Rate, "rate", 0, "measures per second to hold to; 0: as fast as the answers come")
	f.StringVar(&o.start, "start", time.Now().UTC().Add(-12*time.Hour).Truncate(time.Hour).Format(time.RFC3339),
		"time of the first measures")
	f.DurationVar(&load.Step, "step", time.Second, "time from one measure of a metric to its next")
	f.BoolVar(&o.acceptOnly, "accept-only", false, "don't wait until everything has been applied")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	return cmd
}

// runBench sends a load and says what it took. A server without /metrics tells
// nothing of its CPU time.
func runBench(ctx context.Context, load benchmarks.Load, o *benchOptions, out, errOut io.Writer) error {
	show := func(string, ...any) {}
	if isTerminal(errOut) {
		show = func(format string, args ...any) { fmt.Fprintf(errOut, "\r\033[K"+format, args...) }
	}
	before, usageErr := benchmarks.MeasureUsage(ctx, load.URL)
	began := time.Now()
	last := benchmarks.Live{}
	result, err := benchmarks.Run(ctx, load, func(l benchmarks.Live) {
		rate := float64(l.Measures-last.Measures) / (l.Elapsed - last.Elapsed).Seconds()
		show("%6.1fs %12d measures %10.0f/s  p50 %s p99 %s  %d refused", l.Elapsed.Seconds(), l.Measures, rate,
			l.P50.Round(10*time.Microsecond), l.P99.Round(10*time.Microsecond), l.Refused)
		last = l
	})
	show("")
	if err != nil {
		return err
	}
	if result.Accepted == 0 {
		return fmt.Errorf("nothing was accepted: %s", cmp.Or(result.Refusal, "there was no time for a request"))
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
	if !o.acceptOnly {
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
	fmt.Fprintf(out, "%d requests of %d metrics × %d measures, %d clients: %d measures accepted in %.2f s (%.0f/s), "+
		"%d refusals\n",
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
