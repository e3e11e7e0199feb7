package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// sessionsCommand is "caddy esmtp sessions".
func sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "Lists the live sessions of a Caddy that is running",
		Long: `
Lists the live sessions of the mail servers of a Caddy that is running, the
oldest first. With flags, those of which all that they say is true.
`,
		Example: `  caddy esmtp sessions --remote 192.0.2.0/24 --state data`,
		Args:    cobra.NoArgs,
	}
	client := newAdminClient(cmd)
	query := filterFlags(cmd, filterParams...)
	asJSON := cmd.Flags().Bool("json", false, "Write a line of JSON for each session")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage = true
		sessions, err := client.sessions(query())
		if err != nil {
			return err
		}
		if *asJSON {
			return writeLines(cmd.OutOrStdout(), sessions)
		}
		return writeSessions(cmd.OutOrStdout(), sessions)
	}
	return cmd
}

// sessions gets all pages.
func (c *adminClient) sessions(query url.Values) (all []sessionView, err error) {
	query.Set("limit", strconv.Itoa(mostPerPage))
	for {
		var page sessionsView
		if err := c.get(http.MethodGet, "/esmtp/sessions", query, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Sessions...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("after", page.Next)
	}
}

// writeLines writes each value as a line of JSON.
func writeLines[T any](w io.Writer, values []T) error {
	for _, v := range values {
		line, err := toJSON(v)
		if err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// writeSessions writes a table.
func writeSessions(w io.Writer, sessions []sessionView) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSERVER\tCLIENT\tAGE\tSTATE\tPROTOCOL\tHELO\tUSER\tMAILS\tIN\tOUT\tMESSAGE")
	for _, s := range sessions {
		state := s.State
		if s.Outlived {
			state += ", old config"
		}
		age := time.Duration(s.Duration * float64(time.Second)).Round(time.Second)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", s.ID, routed(s.Server, s.Route), shown(s.Remote), age, state, s.Protocol,
			shown(s.HELO), shown(s.User), s.Messages, size(s.OctetsIn), size(s.OctetsOut), s.Envelope)
	}
	return table.Flush()
}

// String writes an envelope in a few words.
func (e *envelopeView) String() string {
	if e == nil {
		return "-"
	}
	text := envelopeText(e.From, e.To, e.Recipients)
	if e.Octets > 0 {
		text += ", " + size(e.Octets)
	}
	return text
}

func envelopeText(from string, to []string, recipients int) string {
	text := "<" + strings.TrimPrefix(shown(from), "-") + ">"
	switch {
	case recipients == 1 && len(to) == 1:
		text += " to <" + shown(to[0]) + ">"
	case recipients > 0 && len(to) > 0:
		text += fmt.Sprintf(" to <%s> and %d more", shown(to[0]), recipients-1)
	}
	return text
}

// size writes octets for people.
func size(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f%ciB", v, units[unit])
}
