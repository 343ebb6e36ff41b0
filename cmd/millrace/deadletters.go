package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
)

// newDeadLetters is the command for what could not be applied.
func newDeadLetters(source *configSource) *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "List, replay or purge what could not be applied",
		Long: `Dead letters are measures that were acknowledged and that the back-end refuses for good: of an archive
policy that is gone, from a far future, or a record that can't be read. They wait for an operator.`,
	}
	flags.add(cmd.PersistentFlags())
	cmd.AddCommand(newLettersList(source, &flags), newLettersReplay(source, &flags), newLettersPurge(source, &flags))
	return cmd
}

func newLettersList(source *configSource, flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print the dead letters, one JSON object a line",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			return listLetters(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
}

// lettersPage is how many letters are asked for at a time.
const lettersPage = 100

// listLetters prints all dead letters in the order of their ids.
func listLetters(ctx context.Context, c *client, out io.Writer) error {
	for query := (url.Values{"limit": {strconv.Itoa(lettersPage)}}); ; {
		var page []json.RawMessage
		if _, err := c.do(ctx, "GET", "/dead-letters", query, nil, &page); err != nil {
			return err
		}
		if len(page) == 0 { // the server's own limit may be lower than ours
			return nil
		}
		for _, letter := range page {
			fmt.Fprintln(out, string(letter))
		}
		var last struct{ ID string }
		if err := json.Unmarshal(page[len(page)-1], &last); err != nil {
			return fmt.Errorf("cannot understand the server's dead letters: %w", err)
		}
		query.Set("marker", last.ID)
	}
}

// chosen checks that either ids or --all is given.
func chosen(ids []string, all bool) error {
	switch {
	case all && len(ids) > 0:
		return errors.New("give ids or --all, not both")
	case !all && len(ids) == 0:
		return errors.New("give the ids of dead letters, or --all")
	}
	return nil
}

// replayDoc is what the answer to a replay says.
type replayDoc struct {
	Replayed int   `json:"replayed"`
	Measures int64 `json:"measures"`
	Failed   []struct {
		ID     string `json:"id"`
		Reason string `json:"reason"`
	} `json:"failed"`
	Remaining int `json:"remaining"`
}

func newLettersReplay(source *configSource, flags *clientFlags) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "replay [id...]",
		Short: "Accept dead letters anew",
		Long: `Replay accepts the measures of dead letters anew: they are checked against the index, appended at the
end of the log, and judged for lateness there. A letter goes when its measures are durable.`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			if err := chosen(ids, all); err != nil {
				return err
			}
			return replayLetters(cmd.Context(), c, ids, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "replay all of them")
	return cmd
}

// replayLetters replays letters (none given: all), going on where an answer had no
// time for more.
func replayLetters(ctx context.Context, c *client, ids []string, out io.Writer) error {
	slices.Sort(ids) // the server takes them in this order, each once
	ids = slices.Compact(ids)
	var sum, doc replayDoc
	for again := true; again; again = doc.Remaining > 0 && doc.Replayed > 0 {
		request := map[string]any{"all": true}
		if len(ids) > 0 {
			request = map[string]any{"ids": ids}
		}
		doc = replayDoc{}
		if _, err := c.do(ctx, "POST", "/dead-letters/replay", nil, request, &doc); err != nil {
			return err
		}
		sum.Replayed += doc.Replayed
		sum.Measures += doc.Measures
		sum.Failed, sum.Remaining = doc.Failed, doc.Remaining // those that failed are tried again each time
		if len(ids) > 0 {
			ids = ids[len(ids)-doc.Remaining:]
		}
	}
	fmt.Fprintf(out, "replayed %d dead letters with %d measures\n", sum.Replayed, sum.Measures)
	for _, f := range sum.Failed {
		fmt.Fprintf(out, "%s stays: %s\n", f.ID, f.Reason)
	}
	if stay := len(sum.Failed) + sum.Remaining; stay > 0 {
		return fmt.Errorf("%d dead letters could not be replayed", stay)
	}
	return nil
}

func newLettersPurge(source *configSource, flags *clientFlags) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "purge [id...]",
		Short: "Forget dead letters for good",
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			if err := chosen(ids, all); err != nil {
				return err
			}
			if all {
				if _, err := c.do(cmd.Context(), "DELETE", "/dead-letters", url.Values{"all": {"true"}}, nil, nil); err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "purged all dead letters")
				return err
			}
			for _, id := range ids {
				if _, err := c.do(cmd.Context(), "DELETE", "/dead-letters/"+url.PathEscape(id), nil, nil, nil); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "purged %d dead letters\n", len(ids))
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "purge all of them")
	return cmd
}
