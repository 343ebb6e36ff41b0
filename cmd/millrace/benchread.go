package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"millrace/benchmarks"
)

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
	f.IntVar(&reads.Across, "across", 0,
		"metrics that each request aggregates by /v1/aggregates; 0: one is read as it is")
	f.StringVar(&reads.Function, "function", "mean", "with --across: what makes one series of them")
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
