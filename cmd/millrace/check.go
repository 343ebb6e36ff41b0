package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/metric/noop"

	"millrace/disk"
	"millrace/drivers/carbonara"
	"millrace/queue/disklog"
)

// newCheck is the command that reads everything and says whether it is sound.
func newCheck(source *configSource) *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read and verify every segment and the log",
		Long: `Check reads every segment of the storage and all of the log, and verifies checksums, order, counts and what
the manifests say of them. It changes nothing. The server must be stopped: check takes the data directory into use.

With --repair it first makes the storage and the log sound again, as far as what is there allows: a segment that can't be read is
copied to quarantine/ and left out, a state segment is made again of what the others hold, a manifest or the layout that
is missing or damaged is made again of what the folder holds. The log keeps every record that is whole, and the files
that were damaged are copied to quarantine/ in the data directory. It says what it has done, and exactly what is lost.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := source.load()
			if err != nil {
				return err
			}
			lock, err := lockDataDir(c.DataDir)
			if err != nil {
				return err
			}
			defer lock.Close()
			if repair {
				if err := repairStorage(cmd, &c); err != nil {
					return err
				}
				if err := repairLog(cmd, &c); err != nil {
					return err
				}
			}
			err = errors.Join(checkLog(cmd, &c), checkStorage(cmd, &c))
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "all is sound")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "first repair what is damaged in the storage and the log")
	return cmd
}

// repairStorage mends the storage and says what it has done, and what is lost.
func repairStorage(cmd *cobra.Command, c *config) error {
	if c.Storage.Driver == "influxdb" {
		return nil // is InfluxDB's own business
	}
	store, err := openStore(cmd.Context(), c, disk.OS{}, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)), noop.NewMeterProvider().Meter(""))
	if err != nil {
		return fmt.Errorf("the storage: %w", err)
	}
	defer store.Close()
	return carbonara.Repair(cmd.Context(), store, c.Sacks, func(r carbonara.Repaired) {
		where := fmt.Sprintf("sack %d", r.Sack)
		if r.Sack < 0 {
			where = "layout"
		}
		for _, text := range r.Did {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", where, text)
		}
		for _, text := range r.Lost {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: LOST %s\n", where, text)
		}
	})
}

func checkLog(cmd *cobra.Command, c *config) error {
	r, err := disklog.Verify(cmd.Context(), disk.OS{}, filepath.Join(c.DataDir, "log"))
	fmt.Fprintf(cmd.OutOrStdout(), "log: %d segments, %d records, %s", r.Segments, r.Records, size(r.Bytes))
	if r.Torn > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), ", %d bytes torn at the end, as a crash leaves them (never acknowledged)", r.Torn)
	}
	if r.Unreadable > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), ", %d records that can't be decoded and will be dead letters", r.Unreadable)
	}
	fmt.Fprintln(cmd.OutOrStdout())
	if err != nil {
		return fmt.Errorf("the log: %w", err)
	}
	return nil
}

func checkStorage(cmd *cobra.Command, c *config) error {
	if c.Storage.Driver == "influxdb" {
		return checkInflux(cmd, c)
	}
	store, err := openStore(cmd.Context(), c, disk.OS{}, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)), noop.NewMeterProvider().Meter(""))
	if err != nil {
		return fmt.Errorf("the storage: %w", err)
	}
	defer store.Close()
	var problems []error
	var total carbonara.Report
	err = carbonara.Check(cmd.Context(), store, func(r carbonara.Report) {
		total.Segments += r.Segments
		total.Rows += r.Rows
		total.Bytes += r.Bytes
		total.Orphans += r.Orphans
		problems = append(problems, r.Problems...)
	})
	fmt.Fprintf(cmd.OutOrStdout(), "storage: %d segments, %d rows, %s; %d orphans waiting to be collected\n",
		total.Segments, total.Rows, size(total.Bytes), total.Orphans)
	return errors.Join(append(problems, err)...)
}
