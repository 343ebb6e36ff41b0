package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
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
	DeadLetters int64        `json:"dead_letters"`
	Processes   []processDoc `json:"processes"`
	Log         logDoc       `json:"log"`
	Damages     []damageDoc  `json:"damages"`
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
	Owner   string `json:"owner"`
	Lag     lagDoc `json:"lag"`
}

type processDoc struct {
	ID      string   `json:"id"`
	Roles   []string `json:"roles"`
	Version string   `json:"version"`
	Since   float64  `json:"since"`
	Beat    float64  `json:"beat"`
	Alive   bool     `json:"alive"`
	Sacks   []int    `json:"sacks"`
}

// A damageDoc is an object of the storage that could not be read.
type damageDoc struct {
	Object string    `json:"object"`
	Error  string    `json:"error"`
	First  time.Time `json:"first"`
}

type logDoc struct {
	ID          string            `json:"id"`
	Partitions  int               `json:"partitions"`
	Replication int               `json:"replication"`
	Settings    map[string]string `json:"settings"`
	Risks       []string          `json:"risks"`
	Error       string            `json:"error"`
}

func newStatus(source *configSource) *cobra.Command {
	var flags clientFlags
	asJSON := false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how far a running server has come",
		Long: `Status asks a running server what it holds, and how far each sack's worker is behind the log. Where processes share a
log it also says which of them live, which sacks the group of workers has given to whom, and what the topic is like.`,
		Args: cobra.NoArgs,
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
	lag, still := doc.Ingest.Lag, standingStill(doc.Ingest.Sacks)
	switch {
	case lag.Records > 0:
		fmt.Fprintf(out, "%d records (%s) are waiting to be applied, the oldest for %s\n",
			lag.Records, size(lag.Bytes), age(lag.Age))
	case len(still) > 0 || lag.Error != "": // what the log no longer holds can't be counted
		fmt.Fprintln(out, "what can be counted has been applied, and not all of that is in the storage yet")
	default:
		fmt.Fprintln(out, "everything that was accepted has been applied")
	}
	for _, line := range still {
		fmt.Fprintln(out, line)
	}
	for _, d := range doc.Damages {
		fmt.Fprintf(out, "damaged since %s: %s: %s (\"millrace check --repair\" keeps what is whole)\n",
			d.First.Format(time.RFC3339), d.Object, d.Error)
	}
	shared := doc.Log.Partitions > 0
	if shared {
		if err := printShared(out, doc); err != nil {
			return err
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "sack\tapplied\twaiting\toldest\t")
	if shared {
		fmt.Fprint(w, "owner\t")
	}
	fmt.Fprintln(w)
	for _, s := range doc.Ingest.Sacks {
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t", s.Sack, s.Applied, s.Lag.Records, age(s.Lag.Age))
		if shared {
			fmt.Fprintf(w, "%s\t", cmp.Or(s.Owner, "nobody"))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// printShared tells of a log that processes share, and of them.
func printShared(out io.Writer, doc *statusDoc) error {
	fmt.Fprintf(out, "log %s: %d partitions, %d replicas", doc.Log.ID, doc.Log.Partitions, doc.Log.Replication)
	for _, name := range slices.Sorted(maps.Keys(doc.Log.Settings)) {
		fmt.Fprintf(out, ", %s %s", name, doc.Log.Settings[name])
	}
	fmt.Fprintln(out)
	for _, risk := range doc.Log.Risks {
		fmt.Fprintln(out, "it may lose what was acknowledged:", risk)
	}
	if doc.Log.Error != "" {
		fmt.Fprintln(out, "it can't be said who owns which sack:", doc.Log.Error)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "process\troles\tversion\tstarted\theard of\tsacks")
	for _, p := range doc.Processes {
		heard := age(p.Beat) + " ago"
		if !p.Alive {
			heard += ", vanished"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s ago\t%s\t%d\n", p.ID, strings.Join(p.Roles, ","), p.Version, age(p.Since), heard,
			len(p.Sacks))
	}
	return w.Flush()
}

// age shows an age in seconds, in no more detail than matters: 0.3s, 3m33s, 2h5m, 4d7h.
func age(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < day:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// standingStill says of which sacks nothing can be applied, a line for each reason.
func standingStill(sacks []sackDoc) []string {
	var reasons []string
	held := make(map[string][]sackDoc)
	for _, s := range sacks {
		reason := strings.Join(strings.Fields(s.Lag.Error), " ") // an error may have several lines
		if reason == "" {
			continue
		}
		if held[reason] == nil {
			reasons = append(reasons, reason)
		}
		held[reason] = append(held[reason], s)
	}
	lines := make([]string, len(reasons))
	for i, reason := range reasons {
		numbers, oldest := make([]string, len(held[reason])), 0.0
		for j, s := range held[reason] {
			numbers[j], oldest = strconv.Itoa(s.Sack), max(oldest, s.Lag.Age)
		}
		which, verb := "sack ", "stands"
		if len(numbers) > 1 {
			which, verb = "sacks ", "stand"
		}
		lines[i] = fmt.Sprintf("%s%s %s still, the oldest record waits for %s: %s", which, strings.Join(numbers, ", "), verb,
			age(oldest), reason)
	}
	return lines
}
