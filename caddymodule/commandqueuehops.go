package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// queueHopsCommand is "caddy esmtp queue hops".
func queueHopsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hops",
		Short: "Shows how the next hops of a queue stand",
		Long: `
Shows the next hops of a queue of a Caddy that is running: why mail for a
destination doesn't move. For each hop that there is something to say about it
writes how many deliveries are at it, how many have to wait for those, how many
connections are idle, and, if it gave no answer, until when it is left alone. A
hop that is not there stands in nobody's way.
`,
		Example: `  caddy esmtp queue hops --queue inbound`,
		Args:    cobra.NoArgs,
	}
	client := newQueueClient(cmd)
	asJSON := cmd.Flags().Bool("json", false, "Write a line of JSON for each hop")
	hide := cmd.Flags().Bool("redact", false, "Hide who logs in")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage = true
		path, err := client.path()
		if err != nil {
			return err
		}
		query := make(url.Values)
		if *hide {
			query.Set("redact", "1")
		}
		var all hopsView
		if err := client.get(http.MethodGet, path+"/hops", query, &all); err != nil {
			return err
		}
		if *asJSON {
			return writeLines(cmd.OutOrStdout(), all.Hops)
		}
		return writeHops(cmd.OutOrStdout(), all.Hops)
	}
	return cmd
}

// writeHops writes a table.
func writeHops(w io.Writer, hops []hopView) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "HOP\tACTIVE\tWAITING\tIDLE\tSILENT")
	for _, h := range hops {
		silent := "-"
		if !h.SilentUntil.IsZero() {
			silent = "until " + h.SilentUntil.Local().Format("15:04:05")
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\n", shown(h.Hop), h.Active, h.Waiting, h.Idle, silent)
	}
	return table.Flush()
}
