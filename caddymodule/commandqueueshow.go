package caddymodule

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-esmtp/esmtp/spool"
)

// queueShowCommand is "caddy esmtp queue show".
func queueShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show <id>...",
		Short:   "Shows all that is known of an item",
		Long:    "\nShows all that is known of an item but its message, which is to be had by export.\n",
		Example: `  caddy esmtp queue show 1jkyh0w3ebb3g`,
		Args:    cobra.MinimumNArgs(1),
	}
	client := newQueueClient(cmd)
	client.spoolFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "Write a line of JSON for each item")
	hide := cmd.Flags().Bool("redact", false, "Hide who mails whom")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		cmd.SilenceUsage = true
		source, err := client.open(cmd.Context())
		if err != nil {
			return err
		}
		defer source.close()
		query := make(url.Values)
		if *hide {
			query.Set("redact", "1")
		}
		for i, id := range ids {
			item, err := source.item(id, query)
			switch {
			case err != nil:
			case *asJSON:
				err = writeLines(cmd.OutOrStdout(), []itemView{item})
			default:
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				err = item.write(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// write writes all of an item for people.
func (v itemView) write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, shown(text))
		}
	}
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Local().Format(time.DateTime)
	}
	line("item", v.ID.String())
	line("message", fmt.Sprintf("%s, %d octets", v.Message, v.Size))
	if v.Parent != 0 {
		line("about", v.Parent.String())
	}
	line("state", v.State.String())
	line("reason", v.Reason)
	line("from", strings.TrimSpace("<"+v.Sender.Address+"> "+v.Sender.Params))
	for _, rcpt := range v.Recipients {
		text := strings.TrimSpace("<"+rcpt.Address+"> "+rcpt.Params) + ", " + rcpt.State.String()
		if rcpt.Reply != "" {
			text += ": " + rcpt.Reply
		}
		line("to", text)
	}
	line("needs", strings.Join(v.Needs, " "))
	line("route", v.Route)
	line("next hops", strings.Join(v.NextHops, " "))
	line("retry", retryText(v.Retry))
	if v.Priority != 0 {
		line("priority", fmt.Sprint(v.Priority))
	}
	line("created", at(v.Created)+", "+age(time.Since(v.Created))+" ago")
	if v.State == spool.Queued {
		line("due", at(v.Due))
	} else {
		line("kept until", at(v.Due))
	}
	line("not before", at(v.NotBefore))
	line("since", at(v.Since))
	line("expires", at(v.Expires))
	if v.Attempts > 0 {
		line("tried", fmt.Sprintf("%d×, last at %s", v.Attempts, at(v.Tried)))
	}
	line("sender warned", at(v.Warned))
	line("last reply", v.LastError)
	line("came", originText(v.Origin))
	return table.Flush()
}

// retryText is an item's own schedule.
func retryText(waits []float64) string {
	var list []string
	for _, wait := range waits {
		if wait < 0 {
			list = append(list, "then frozen")
			continue
		}
		list = append(list, time.Duration(wait*float64(time.Second)).String())
	}
	return strings.Join(list, ", ")
}

// originText is where a message came from.
func originText(o spool.Origin) string {
	var b strings.Builder
	for _, part := range []struct{ label, text string }{
		{"from ", o.Helo}, {"[", o.Client}, {"with ", o.Protocol}, {"user ", o.User}, {"session ", o.Session}, {"transaction ", o.Transaction},
	} {
		if part.text != "" {
			b.WriteString(" " + part.label + part.text)
		}
		if part.text != "" && part.label == "[" {
			b.WriteByte(']')
		}
	}
	return strings.TrimSpace(b.String())
}

// queueStatsCommand is "caddy esmtp queue stats".
func queueStatsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Shows how full the queues are",
		Args:  cobra.NoArgs,
	}
	client := newQueueClient(cmd)
	client.spoolFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "Write a line of JSON for each queue")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage = true
		var source queueSource = &remoteQueue{queueClient: client}
		if client.spool != "" {
			var err error
			if source, err = client.open(cmd.Context()); err != nil {
				return err
			}
		}
		defer source.close()
		queues, err := source.stats()
		if err != nil {
			return err
		}
		if *asJSON {
			return writeLines(cmd.OutOrStdout(), queues)
		}
		for i, q := range queues {
			if i > 0 {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			q.write(cmd.OutOrStdout())
		}
		return nil
	}
	return cmd
}

// write writes the numbers of a queue for people.
func (v queueView) write(w io.Writer) {
	if v.Name != "" {
		fmt.Fprint(w, strings.Join(append([]string{v.Name}, v.Also...), ", "), ": ")
	}
	fmt.Fprint(w, v.Kind, " ", v.Spool)
	if v.Draining {
		fmt.Fprint(w, ", of an old config")
	}
	if v.Full {
		fmt.Fprint(w, ", the disk is full")
	}
	fmt.Fprintln(w)
	empty := true
	for state := range spool.Delivered {
		if n := v.Count[state]; n > 0 {
			empty = false
			fmt.Fprintf(w, "%8d %s", n, state)
			if oldest, ok := v.Oldest[state]; ok {
				fmt.Fprintf(w, ", the oldest for %s", age(time.Since(oldest)))
			}
			fmt.Fprintln(w)
		}
	}
	if empty {
		fmt.Fprintln(w, "       0 items")
	}
	if v.Concurrency > 0 {
		fmt.Fprintf(w, "%8d attempts now, of %d\n", v.Active, v.Concurrency)
	}
	for _, r := range v.Routes {
		fmt.Fprintf(w, "%8d for %s, the oldest for %s\n", r.Queued, shown(r.Route), age(time.Since(r.Oldest)))
	}
}
