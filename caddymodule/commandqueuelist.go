package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-esmtp/esmtp/spool"
)

// queueListCommand is "caddy esmtp queue list".
func queueListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists what is in a queue, the oldest first",
		Long: `
Writes a line for each item of a queue, the oldest first: its age, its size, its id,
who mails whom, and how it stands. With flags, those of which all that they say is
true.

--table   writes a table with a heading
--ids     writes the ids only
--json    writes a line of JSON for each
`,
		Example: `  caddy esmtp queue list --state frozen --older 1d`,
		Args:    cobra.NoArgs,
	}
	client := newQueueClient(cmd)
	client.spoolFlag(cmd)
	query := itemFlags(cmd)
	asTable := cmd.Flags().Bool("table", false, "Write a table with a heading")
	idsOnly := cmd.Flags().Bool("ids", false, "Write the ids only")
	asJSON := cmd.Flags().Bool("json", false, "Write a line of JSON for each item")
	hide := cmd.Flags().Bool("redact", false, "Hide who mails whom")
	cmd.MarkFlagsMutuallyExclusive("table", "ids", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage = true
		source, err := client.open(cmd.Context())
		if err != nil {
			return err
		}
		defer source.close()
		out := cmd.OutOrStdout()
		q := query()
		if *hide {
			q.Set("redact", "1")
		}
		switch {
		case *asJSON:
			return allItems(source, q, func(items []itemView) error { return writeLines(out, items) })
		case *idsOnly:
			return allItems(source, q, func(items []itemView) error { return writeIDs(out, items) })
		case *asTable:
			table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tSTATE\tAGE\tSIZE\tTRIES\tNEXT\tROUTE\tFROM\tTO\tWHY")
			if err := allItems(source, q, func(items []itemView) error { return writeItemTable(table, items) }); err != nil {
				return err
			}
			return table.Flush()
		}
		return allItems(source, q, func(items []itemView) error { return writeItems(out, items) })
	}
	return cmd
}

func writeIDs(w io.Writer, items []itemView) error {
	for _, it := range items {
		if _, err := fmt.Fprintln(w, it.ID); err != nil {
			return err
		}
	}
	return nil
}

// writeItems writes a line for each item, much as "exim -bp" does.
func writeItems(w io.Writer, items []itemView) error {
	for _, it := range items {
		_, err := fmt.Fprintf(w, "%4s %8s %s %s %s\n", age(time.Since(it.Created)), size(it.Size), it.ID, it.envelope(), it.standing())
		if err != nil {
			return err
		}
	}
	return nil
}

func writeItemTable(w io.Writer, items []itemView) error {
	for _, it := range items {
		to := "-"
		if len(it.Recipients) > 0 {
			to = shown(it.Recipients[0].Address)
		}
		if it.RecipientCount > 1 {
			to += fmt.Sprintf(" +%d", it.RecipientCount-1)
		}
		why := it.Reason
		if why == "" {
			why = it.LastError
		}
		_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", it.ID, it.State, age(time.Since(it.Created)), size(it.Size), it.Attempts,
			it.next(), shown(it.Route), shown(it.Sender.Address), to, shown(why))
		if err != nil {
			return err
		}
	}
	return nil
}

// envelope is who mails whom, in a few words.
func (v itemView) envelope() string {
	var to []string
	for _, rcpt := range v.Recipients {
		to = append(to, rcpt.Address)
	}
	return envelopeText(v.Sender.Address, to, v.RecipientCount)
}

// next is when something happens to the item by itself.
func (v itemView) next() string {
	switch {
	case v.State == spool.Sending:
		return "now"
	case v.Due.IsZero():
		return "-"
	case time.Until(v.Due) <= 0:
		return "due"
	}
	return age(time.Until(v.Due))
}

// standing is how an item stands, in a few words.
func (v itemView) standing() string {
	text := v.State.String()
	switch next := v.next(); {
	case v.State == spool.Queued && next == "due":
		text = "due"
	case v.State == spool.Queued:
		text = "due in " + next
	case (v.State == spool.Removed || v.State == spool.Quarantined) && next != "-" && next != "due":
		text = "*** " + text + ", kept for " + next + " ***"
	case v.State != spool.Sending:
		text = "*** " + text + " ***"
	}
	if v.Attempts > 0 {
		text += fmt.Sprintf(", tried %d×", v.Attempts)
	}
	for _, why := range []string{v.Reason, v.LastError} {
		if why != "" {
			return text + ": " + shown(why)
		}
	}
	return text
}

// age writes how long something is, as one number: 40s, 25m, 3h, 12d.
func age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// writeQueueEvent writes an event as a line for people.
func writeQueueEvent(w io.Writer, data []byte) error {
	var lost struct {
		Lost int `json:"lost"`
	}
	var e queueEvent
	if err := json.Unmarshal(data, &lost); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	if lost.Lost > 0 {
		_, err := fmt.Fprintf(w, "%s %d events were lost: they came faster than they could be shown\n", time.Now().Format("15:04:05.000"), lost.Lost)
		return err
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s%s\n", e.Time.Local().Format("15:04:05.000"), e.ID, shown(e.Route), e.Type, e.details())
	return err
}

// details is what an event has besides where and when.
func (e queueEvent) details() string {
	var b strings.Builder
	if e.Type == "attempt" {
		fmt.Fprintf(&b, " %d %s", e.Attempt, e.Result)
		for _, text := range []string{e.Host, e.TLS} {
			if text != "" {
				b.WriteString(" " + shown(text))
			}
		}
		fmt.Fprintf(&b, " in %s, %d accepted, %d failed, %d later", time.Duration(e.Took*float64(time.Second)).Round(time.Microsecond), e.Accepted, e.Failed, e.Later)
		if e.Reply != "" {
			b.WriteString(" → " + shown(e.Reply))
		}
		return b.String()
	}
	if !e.At.IsZero() {
		b.WriteString(" until " + e.At.Local().Format(time.DateTime))
	}
	if e.Reason != "" {
		b.WriteString(": " + shown(e.Reason))
	}
	return b.String()
}
