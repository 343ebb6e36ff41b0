package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// statusDoc is what the commands read of GET /v1/status.
type statusDoc struct {
	Index struct {
		Policies int64 `json:"archive_policies"`
		Rules    int64 `json:"archive_policy_rules"`
		Metrics  int64 `json:"metrics"`
		Deleted  int64 `json:"deleted_metrics"`
	} `json:"index"`
	Ingest struct {
		Lag   lagDoc    `json:"lag"`
		Sacks []sackDoc `json:"sacks"`
	} `json:"ingest"`
	DeadLetters int64 `json:"dead_letters"`
}

type lagDoc struct {
	Records int64   `json:"records"`
	Bytes   int64   `json:"bytes"`
	Age     float64 `json:"age"`
	Error   string  `json:"error"`
}

type sackDoc struct {
	Sack    int    `json:"sack"`
	Applied int64  `json:"applied"`
	Lag     lagDoc `json:"lag"`
}

func newStatus(source *configSource) *cobra.Command {
	var flags clientFlags
	asJSON := false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how far a running server has come",
		Long:  "Status asks a running server what it holds, and how far each sack's worker is behind the log.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if _, err := c.do(cmd.Context(), "GET", "/status", nil, nil, &raw); err != nil {
				return err
			}
			if asJSON {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), string(raw))
				return err
			}
			var doc statusDoc
			if err := json.Unmarshal(raw, &doc); err != nil {
				return fmt.Errorf("cannot understand the server's status: %w", err)
			}
			return printStatus(cmd, &doc)
		},
	}
	flags.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as it is")
	return cmd
}

func printStatus(cmd *cobra.Command, doc *statusDoc) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%d metrics, %d archive policies, %d rules; %d deleted metrics not yet purged; %d dead letters\n",
		doc.Index.Metrics, doc.Index.Policies, doc.Index.Rules, doc.Index.Deleted, doc.DeadLetters)
	lag := doc.Ingest.Lag
	if lag.Records == 0 {
		fmt.Fprintln(out, "everything that was accepted has been applied")
	} else {
		fmt.Fprintf(out, "%d records (%s) are waiting to be applied, the oldest for %s\n",
			lag.Records, size(lag.Bytes), time.Duration(lag.Age*float64(time.Second)).Round(time.Millisecond))
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "sack\tapplied\twaiting\toldest\t")
	for _, s := range doc.Ingest.Sacks {
		fmt.Fprintf(w, "%d\t%d\t%d\t%.1fs\t%s\n", s.Sack, s.Applied, s.Lag.Records, s.Lag.Age, s.Lag.Error)
	}
	return w.Flush()
}
