package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/metric/noop"

	"millrace/index"
	"millrace/ingest"
)

// newIndex is the command for what is done to an index while no server uses it.
func newIndex(source *configSource) *cobra.Command {
	cmd := &cobra.Command{Use: "index", Short: "Copy the index, or have it take part in another deployment"}
	cmd.AddCommand(newIndexCopy(), newIndexAdopt(source))
	return cmd
}

func newIndexCopy() *cobra.Command {
	return &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy an index from one database to another",
		Long: `Copy copies an index: archive policies, metrics, resources and their history, dead letters, and what is
known of the deployment and its logs. FROM and TO are URLs as index.url has them: sqlite:PATH or
postgres://USER:PASSWORD@HOST/DATABASE. TO must be new. Stop all processes of the deployment first; when all
is copied, and counted on both sides, set index.url to TO and start them again. After an error TO is as before.`,
		Example: "  millrace index copy sqlite:/var/lib/millrace/index.db postgres://millrace:secret@db/millrace",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return index.Copy(cmd.Context(), args[0], args[1], func(table string, rows int64) {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %d rows\n", table, rows)
			})
		},
	}
}

func newIndexAdopt(source *configSource) *cobra.Command {
	return &cobra.Command{
		Use:   "adopt",
		Short: "Have the index go on with the log that is there",
		Long: `A start is refused when the index, the log and the storage are not of one deployment. Where the one that is
missing can't be restored, adopt has the index that index.url names take the log that is there for its own.
What the index of before knew is then unknown: measures that the log still holds for such metrics become dead letters. What
a log of before still held is given up: GET /v1/ingest/<token> says "lost" of it. All processes must be stopped: adopt takes
the data directory into use, gives a topic a new base, and has the workers apply it from its beginning.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			c, _, err := source.load()
			if err != nil {
				return err
			}
			p := &parts{id: newProcessID(), sacks: c.Sacks}
			defer func() { err = errors.Join(err, p.close()) }()
			if c.keepsData() {
				lock, err := lockDataDir(c.DataDir)
				if err != nil {
					return err
				}
				p.closers = append(p.closers, lock)
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			t := &telemetry{meter: noop.NewMeterProvider().Meter("")}
			if err := p.openIndex(cmd.Context(), &c, log, t); err != nil {
				return err
			}
			p.adopting = true
			applied := p.appliedBefore(cmd.Context(), &c, log, t)
			p.rebase = true
			if err := p.openQueue(cmd.Context(), &c, log, t); err != nil {
				return err
			}
			if _, err := p.index.FoundDeployment(cmd.Context(), c.Sacks); err != nil {
				return err
			}
			id := p.log.Log()
			var begins ingest.Position
			if p.kafka != nil {
				if begins, err = p.kafka.Begins(cmd.Context()); err != nil {
					return err
				}
			}
			if err := p.index.AdoptLog(cmd.Context(), id, applied, begins); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the index %s goes on with the log %s\n", indexName(&c), id.ID)
			return err
		},
	}
}

// appliedBefore tells how far the storage has been applied, so that it can be said later
// what of the log of before was lost. A storage that can't be read doesn't keep an operator
// from giving that log up: then all of it counts as lost.
func (p *parts) appliedBefore(ctx context.Context, c *config, log *slog.Logger, t *telemetry) ingest.Position {
	err := p.openDriver(ctx, c, log, t)
	if err == nil {
		var applied ingest.Position
		if applied, err = p.watermarks(ctx, c.Sacks); err == nil {
			return applied
		}
	}
	log.Warn("all that the log of before held will be told to be lost", "err", err)
	return nil
}
