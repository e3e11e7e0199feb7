package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// kickCommand is "caddy esmtp kick".
func kickCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kick [<id>...]",
		Short: "Ends sessions of a Caddy that is running",
		Long: `
Ends sessions: those whose ids are given, or those of which all that the flags
say is true. The clients get 421 after the command or the message that they are
at, and so nothing is lost.

--reply
    What the client gets: "421 4.3.2 be gone", or the text alone.

--now
    Cuts the connection instead, within a message too. The client will send that
    again.
`,
		Example: `  caddy esmtp kick 1k2m3n4p5q6r7
  caddy esmtp kick --remote 192.0.2.0/24 --reply "421 4.7.0 come back tomorrow"`,
	}
	client := newAdminClient(cmd)
	filter := filterFlags(cmd, filterParams...)
	reply := cmd.Flags().String("reply", "", "What the client gets")
	all := cmd.Flags().Bool("all", false, "End all sessions")
	now := cmd.Flags().Bool("now", false, "Cut the connection, within a message too")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		cmd.SilenceUsage = true
		order, err := kickQuery(*reply, *now)
		if err != nil {
			return err
		}
		query := filter()
		if *all {
			query.Set("all", "1")
		}
		switch {
		case len(ids) > 0 && len(query) > 0:
			return errors.New("esmtp kick: takes ids or flags that choose sessions, not both")
		case len(ids) == 0 && len(query) == 0:
			return errors.New("esmtp kick: which sessions? Give their ids, --remote or another flag, or --all")
		case len(ids) > 0:
			return client.kickEach(cmd.OutOrStdout(), ids, order)
		}
		for name := range order {
			query.Set(name, order.Get(name))
		}
		return client.kick(cmd.OutOrStdout(), "/esmtp/sessions", query)
	}
	return cmd
}

var kickReply = regexp.MustCompile(`^(?:(\d{3})(?: +|$))?(?:(\d\.\d+\.\d+)(?: +|$))?(.*)$`)

// kickQuery makes the query of a reply.
func kickQuery(reply string, now bool) (url.Values, error) {
	query := make(url.Values)
	if now {
		query.Set("now", "1")
	}
	if strings.ContainsAny(reply, "\r\n") {
		return nil, errors.New("esmtp kick: --reply is one line")
	}
	for i, name := range []string{"code", "enhanced", "text"} {
		if part := kickReply.FindStringSubmatch(reply)[i+1]; part != "" {
			query.Set(name, part)
		}
	}
	return query, nil
}

// kickEach ends sessions by their ids. One that has gone already is told at the end.
func (c *adminClient) kickEach(out io.Writer, ids []string, order url.Values) error {
	var errs []error
	for _, id := range ids {
		err := c.kick(out, "/esmtp/sessions/"+url.PathEscape(id), order)
		if errors.Is(err, errNotThere) {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// kick ends sessions, and writes which.
func (c *adminClient) kick(out io.Writer, path string, query url.Values) error {
	var view kickedView
	if err := c.get(http.MethodDelete, path, query, &view); err != nil {
		return err
	}
	for _, id := range view.Kicked {
		fmt.Fprintln(out, id)
	}
	if len(view.Kicked) == 0 {
		return fmt.Errorf("%s: there is no such session", c.command)
	}
	return nil
}
