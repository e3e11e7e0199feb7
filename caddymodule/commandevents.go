package caddymodule

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// eventsCommand is "caddy esmtp events".
func eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Follows what happens in the sessions of a Caddy that is running",
		Long: `
Writes a line for each thing that happens in the sessions of the mail servers of
a Caddy that is running, until it is interrupted or Caddy stops. A reload of
Caddy's config is waited out; what happens meanwhile isn't told.

--commands
    Tells each command and its reply too.
`,
		Example: `  caddy esmtp events --type message,failed --server mx`,
		Args:    cobra.NoArgs,
	}
	client := newAdminClient(cmd)
	filter := filterFlags(cmd, "server", "route", "session", "remote", "type")
	asJSON := cmd.Flags().Bool("json", false, "Write the events as lines of JSON")
	commands := cmd.Flags().Bool("commands", false, "Tell each command and its reply too")
	hide := cmd.Flags().Bool("redact", false, "Hide who mails whom")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage = true
		query := filter()
		for name, on := range map[string]bool{"commands": *commands, "redact": *hide} {
			if on {
				query.Set(name, "1")
			}
		}
		write := writeEvent
		if *asJSON {
			write = writeEventJSON
		}
		return client.follow("/esmtp/events", query, func(data []byte) error { return write(cmd.OutOrStdout(), data) })
	}
	return cmd
}

// How often, and after what time, a stream that broke is asked for again. Caddy's admin endpoint is not away for long when it reloads.
const (
	followTries = 20
	followPause = 250 * time.Millisecond
)

// follow hands the data of each event to a function, until that fails or Caddy has gone.
func (c *adminClient) follow(path string, query url.Values, each func(data []byte) error) error {
	for tries := 0; ; tries++ {
		body, err := c.do(http.MethodGet, path, query)
		switch {
		case err == nil:
			tries = 0
			err = readEvents(body, each)
			body.Close()
			if err != nil {
				return fmt.Errorf("%s: %w", c.command, err)
			}
		case tries == 0 || tries == followTries || !errors.Is(err, errNotThere):
			return err
		}
		time.Sleep(followPause)
	}
}

// maxEvent is more than an event can have.
const maxEvent = 1 << 20

// readEvents reads server-sent events until they end. The error is that of each.
func readEvents(stream io.Reader, each func(data []byte) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := each([]byte(data)); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeEventJSON(w io.Writer, data []byte) error {
	_, err := fmt.Fprintf(w, "%s\n", data)
	return err
}

// writeEvent writes an event as a line for people.
func writeEvent(w io.Writer, data []byte) error {
	var e struct {
		sessionEvent
		Lost int `json:"lost"`
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	at := e.Time.Local().Format("15:04:05.000")
	if e.Type == "lost" {
		_, err := fmt.Fprintf(w, "%s %d events were lost: they came faster than they could be shown\n", at, e.Lost)
		return err
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s %s%s\n", at, shown(e.Session), routed(e.Server, e.Route), shown(e.Remote), e.Type, e.details())
	return err
}

// routed is a server, and the route of a session on it.
func routed(server, route string) string {
	if route == "" {
		return server
	}
	return server + "/" + route
}

// details is what an event has besides where and when.
func (e sessionEvent) details() string {
	var b strings.Builder
	add := func(label, text string) {
		if text != "" {
			b.WriteString(" " + label + shown(text))
		}
	}
	reply, _, more := strings.Cut(e.Reply, " / ") // the lines of a reply
	switch {
	case more:
		reply += " …"
	case reply == "" && e.Code > 0:
		reply = fmt.Sprint(e.Code)
	}
	add("", e.Verb)
	add("", e.TLS)
	add("", e.Mechanism)
	add("", e.User)
	if e.From != nil {
		b.WriteString(" " + envelopeText(*e.From, e.To, e.Recipients) + ", " + size(e.Octets))
	}
	add("", e.Limit)
	add("", e.Class)
	if reply != "" {
		add("→ ", reply)
	}
	if e.Type == "ended" {
		fmt.Fprintf(&b, " after %s, mails %d, in %s, out %s", time.Duration(e.Duration*float64(time.Second)).Round(time.Millisecond), e.Messages,
			size(e.OctetsIn), size(e.OctetsOut))
	}
	add("(", e.Error)
	if e.Error != "" {
		b.WriteString(")")
	}
	return b.String()
}
