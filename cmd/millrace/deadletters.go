package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
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
			return eachLetter(cmd.Context(), c, func(letter json.RawMessage, _ string) error {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), string(letter))
				return err
			})
		},
	}
}

// lettersPage is how many letters are asked for at a time.
const lettersPage = 100

// eachLetter visits all dead letters in the order of their ids.
func eachLetter(ctx context.Context, c *client, visit func(letter json.RawMessage, id string) error) error {
	for marker := ""; ; {
		query := url.Values{"limit": {strconv.Itoa(lettersPage)}}
		if marker != "" {
			query.Set("marker", marker)
		}
		var page []json.RawMessage
		if _, err := c.do(ctx, "GET", "/dead-letters", query, nil, &page); err != nil {
			return err
		}
		for _, letter := range page {
			var head struct{ ID string }
			if err := json.Unmarshal(letter, &head); err != nil {
				return err
			}
			if err := visit(letter, head.ID); err != nil {
				return err
			}
			marker = head.ID
		}
		if len(page) == 0 {
			return nil
		}
	}
}

// chosen returns the ids given, or all there are.
func chosen(ctx context.Context, c *client, args []string, all bool) ([]string, error) {
	switch {
	case all && len(args) > 0:
		return nil, errors.New("give ids or --all, not both")
	case !all && len(args) == 0:
		return nil, errors.New("give the ids of dead letters, or --all")
	case !all:
		return args, nil
	}
	var ids []string
	err := eachLetter(ctx, c, func(_ json.RawMessage, id string) error { ids = append(ids, id); return nil })
	return ids, err
}

func newLettersReplay(source *configSource, flags *clientFlags) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "replay [id...]",
		Short: "Accept dead letters anew",
		Long: `Replay accepts the measures of dead letters anew: they are checked against the index, appended at the
end of the log, and judged for lateness there. A letter goes when its measures are durable.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			ids, err := chosen(cmd.Context(), c, args, all)
			if err != nil || len(ids) == 0 {
				return err
			}
			var answer json.RawMessage
			if _, err := c.do(cmd.Context(), "POST", "/dead-letters/replay", nil, map[string]any{"ids": ids}, &answer); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(answer))
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "replay all of them")
	return cmd
}

func newLettersPurge(source *configSource, flags *clientFlags) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "purge [id...]",
		Short: "Forget dead letters for good",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := flags.client(source)
			if err != nil {
				return err
			}
			ids, err := chosen(cmd.Context(), c, args, all)
			if err != nil {
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
