package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"millrace/benchmarks"
	"millrace/ingest"
)

// benchMetrics returns the metrics of an earlier run, or creates them.
func benchMetrics(ctx context.Context, c *client, o *benchOptions, errOut io.Writer) ([]ingest.MetricID, error) {
	ids, err := readIDs(o.ids)
	if err != nil {
		return nil, err
	}
	if len(ids) >= o.metrics {
		return ids[:o.metrics], nil
	}
	made, err := benchmarks.CreateMetrics(ctx, c.base.String(), c.user, o.policy, o.metrics-len(ids), func(n int) {
		if isTerminal(errOut) {
			fmt.Fprintf(errOut, "\r\033[K%d metrics created", n)
		}
	})
	if err != nil {
		return nil, err
	}
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

// readIDs reads a file with a metric's id on each line; no name or no file is none.
func readIDs(path string) ([]ingest.MetricID, error) {
	data, err := os.ReadFile(path)
	if path == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []ingest.MetricID
	for text := range strings.FieldsSeq(string(data)) {
		id, err := ingest.ParseMetricID(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
