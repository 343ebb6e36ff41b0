package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/metric/noop"

	"millrace/disk"
	"millrace/drivers/carbonara"
)

// newCheck is the command that reads everything and says whether it is sound.
func newCheck(source *configSource) *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read and verify the index, the log and the storage, and compare them",
		Long: `Check reads whatever a start needs: it has the index's database check itself and reads its dead letters, reads all of
the log (of Kafka: asks whether the topic will do) and every segment of the storage, and verifies checksums, order, counts and
what the manifests say of them. Then it compares: all parts are of one deployment, and the log goes on where each sack has been
applied. It changes nothing. The server must be stopped: check takes the data directory into use. It ends with status 0
when all is sound, and with 1 when anything is not, naming each.

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
			k := checking{config: &c, out: cmd.OutOrStdout(), log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(),
				&slog.HandlerOptions{Level: slog.LevelWarn}))}
			err = k.run(cmd.Context())
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
	store, err := openStore(cmd.Context(), c, disk.OS{}, nil, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
		noop.NewMeterProvider().Meter(""))
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
