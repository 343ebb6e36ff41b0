package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/metric/noop"

	"millrace/disk"
	"millrace/drivers/carbonara"
	"millrace/ingest"
	"millrace/queue/disklog"
)

// repairLog mends the embedded log and says what it has done, and what is lost.
func repairLog(cmd *cobra.Command, c *config) error {
	if c.Queue.Driver != "disklog" {
		return nil
	}
	want := disklog.RepairConfig{
		Sacks:      c.Sacks,
		Quarantine: filepath.Join(c.DataDir, "quarantine", time.Now().UTC().Format("20060102T150405Z")),
	}
	applied := make(map[ingest.Sack]ingest.Watermark)
	err := eachApplied(cmd, c, func(sack ingest.Sack, at ingest.Watermark) {
		applied[sack] = at
		if log := at.Log; log != (ingest.LogID{}) && log.Base >= want.Log.Base {
			want.Log = log
		}
	})
	if err != nil {
		return fmt.Errorf("cannot tell which log the storage was fed from: %w", err)
	}
	if len(applied) == c.Sacks && want.Log != (ingest.LogID{}) {
		want.Applied = make([]ingest.Offset, c.Sacks)
		for sack, at := range applied {
			if at.Log == want.Log { // else nothing of this log yet
				want.Applied[sack] = at.Offset
			}
		}
	}
	r, err := disklog.Repair(cmd.Context(), disk.OS{}, filepath.Join(c.DataDir, "log"), want)
	out := cmd.OutOrStdout()
	for _, text := range r.Notes {
		fmt.Fprintf(out, "log: %s\n", text)
	}
	for sack, n := range r.Lost {
		if n > 0 {
			fmt.Fprintf(out, "log: LOST %d records of sack %d\n", n, sack)
		}
	}
	if r.LostBytes > 0 {
		fmt.Fprintf(out, "log: LOST %d bytes, in which nobody can count the records\n", r.LostBytes)
	}
	for _, path := range r.Aside {
		fmt.Fprintf(out, "log: what was there is in %s\n", path)
	}
	if err != nil {
		return errors.Join(err, errors.New("the log is as it was, but for what is said above"))
	}
	return nil
}

// eachApplied calls visit with the watermarks that the storage holds.
func eachApplied(cmd *cobra.Command, c *config, visit func(ingest.Sack, ingest.Watermark)) error {
	log, meter := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)), noop.NewMeterProvider().Meter("")
	if c.Storage.Driver == "influxdb" {
		state, err := lookAtInflux(cmd.Context(), c, log, meter)
		for sack, at := range state.Watermarks {
			visit(sack, at)
		}
		return err
	}
	store, err := openStore(cmd.Context(), c, disk.OS{}, nil, log, meter)
	if err != nil {
		return err
	}
	defer store.Close()
	return carbonara.Check(cmd.Context(), store, func(r carbonara.Report) { visit(r.Sack, r.Applied) })
}
