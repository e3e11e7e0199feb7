package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-esmtp/esmtp/spool"
)

// queueCommand is "caddy esmtp queue".
func queueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Shows what is in the queues, and lets you step in",
		Long: `
Shows what is in the queues of a Caddy that is running, and does something about
it. Items are named by their ids, or chosen by flags, of which all that are given
must be so:

--state       queued, sending, frozen, quarantined, removed or damaged; several
              with commas between
--sender      a part of the sender's address, or with * or ? in it a pattern for
              all of it; <> is the null sender
--recipient   the same about any recipient
--route       the same about the destination or any next hop
--message     items of one message, and reports about it
--older       in the queue for longer than this, such as 2d
--younger     in the queue for less than this

--queue names the queue, if there is more than one. While Caddy doesn't run, list,
show, export, stats and check can read a spool by --spool.
`,
		Example: `  caddy esmtp queue list --state frozen
  caddy esmtp queue retry --route example.com
  caddy esmtp queue release 1jkyh0w3ebb3g --to postmaster@example.org`,
	}
	cmd.AddCommand(queueListCommand(), queueShowCommand(), queueExportCommand(), queueStatsCommand(), queueCheckCommand(), queueEventsCommand(),
		queueHopsCommand(), queueConcurrencyCommand())
	cmd.AddCommand(queueMoveCommands()...)
	return cmd
}

// queueClient asks the admin API about one queue.
type queueClient struct {
	*adminClient
	queue string
	spool string // if it is to be read without Caddy
}

// newQueueClient adds the flags that say where the queue is.
func newQueueClient(cmd *cobra.Command) *queueClient {
	c := &queueClient{adminClient: newAdminClient(cmd)}
	c.command = "esmtp queue " + cmd.Name()
	cmd.Flags().StringVar(&c.queue, "queue", "", "The queue, by its name in the config")
	return c
}

// spoolFlag lets a command read a spool without Caddy.
func (c *queueClient) spoolFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.spool, "spool", "", "Read this spool, a folder or postgres://…, without Caddy")
}

// itemFlags adds a flag for each parameter of a filter of items, and returns what makes a query of those that were given.
func itemFlags(cmd *cobra.Command) func() url.Values {
	usage := map[string]string{
		"state":     "In these states, with commas between: " + strings.Join(itemStates(), ", "),
		"sender":    "Whose sender has this in its address, or matches a pattern with * or ?",
		"recipient": "One of whose recipients has this in its address, or matches a pattern",
		"route":     "Whose destination or next hop has this in its name, or matches a pattern",
		"message":   "Of this message, and reports about it",
		"older":     "In the queue for longer than this, such as 2d",
		"younger":   "In the queue for less than this",
	}
	for _, name := range itemParams {
		cmd.Flags().String(name, "", usage[name])
	}
	return func() url.Values {
		query := make(url.Values)
		for _, name := range itemParams {
			if f := cmd.Flags().Lookup(name); f.Changed {
				query.Set(name, f.Value.String())
			}
		}
		return query
	}
}

// queues asks for all queues, or for the one that was named.
func (c *queueClient) queues() ([]queueView, error) {
	if c.queue != "" {
		var one queueView
		err := c.get(http.MethodGet, "/esmtp/queues/"+url.PathEscape(c.queue), nil, &one)
		return []queueView{one}, err
	}
	var all struct{ Queues []queueView }
	err := c.get(http.MethodGet, "/esmtp/queues", nil, &all)
	return all.Queues, err
}

// path is that of the queue: the one that was named, the only one, or "default".
func (c *queueClient) path() (string, error) {
	if c.queue == "" {
		all, err := c.queues()
		if err != nil {
			return "", err
		}
		if current := slices.DeleteFunc(slices.Clone(all), func(q queueView) bool { return q.Draining }); len(current) > 0 {
			all = current
		}
		var names []string
		for _, q := range all {
			names = append(append(names, q.Name), q.Also...)
		}
		switch slices.Sort(names); {
		case len(all) == 0:
			return "", fmt.Errorf("%s: this Caddy has no queue", c.command)
		case len(all) == 1:
			c.queue = all[0].Name
		case slices.Contains(names, defaultQueue):
			c.queue = defaultQueue
		default:
			return "", fmt.Errorf("%s: which queue? Give --queue with one of %s", c.command, strings.Join(names, ", "))
		}
	}
	return "/esmtp/queues/" + url.PathEscape(c.queue), nil
}

// post sends an order, and reads the answer.
func (c *queueClient) post(path string, query url.Values, order, value any) error {
	body, err := json.Marshal(order)
	if err != nil {
		return err
	}
	answer, err := c.send(http.MethodPost, path, query, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := json.NewDecoder(answer).Decode(value); err != nil {
		return fmt.Errorf("%s: reading Caddy's answer: %w", c.command, err)
	}
	return nil
}

// queueEventsCommand is "caddy esmtp queue events".
func queueEventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Follows what happens in a queue of a Caddy that is running",
		Long: `
Writes a line for each thing that happens to the items of a queue, until it is
interrupted or Caddy stops. A reload of Caddy's config is waited out; what happens
meanwhile isn't told.
`,
		Example: `  caddy esmtp queue events --type attempt,frozen`,
		Args:    cobra.NoArgs,
	}
	client := newQueueClient(cmd)
	query := make(url.Values)
	kind := cmd.Flags().String("type", "", "Of these types, with commas between: "+strings.Join(queueEventTypes, ", "))
	to := cmd.Flags().String("route", "", "Of items for this destination")
	message := cmd.Flags().String("message", "", "Of items of this message")
	asJSON := cmd.Flags().Bool("json", false, "Write the events as lines of JSON")
	hide := cmd.Flags().Bool("redact", false, "Hide who mails whom")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage = true
		for name, value := range map[string]string{"type": *kind, "route": *to, "message": *message} {
			if value != "" {
				query.Set(name, value)
			}
		}
		if *hide {
			query.Set("redact", "1")
		}
		write := writeQueueEvent
		if *asJSON {
			write = writeEventJSON
		}
		path, err := client.path()
		if err != nil {
			return err
		}
		return client.follow(path+"/events", query, func(data []byte) error { return write(cmd.OutOrStdout(), data) })
	}
	return cmd
}

// queueCheckCommand is "caddy esmtp queue check".
func queueCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Checks that a spool is whole",
		Long: `
Reads a whole spool: whether each item has its message, and each message is what it
was. What is damaged is set aside, and its ids are written; then the exit code is 1.
Messages that no item has are deleted.
`,
		Args: cobra.NoArgs,
	}
	client := newQueueClient(cmd)
	client.spoolFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "Write the result as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage = true
		source, err := client.open(cmd.Context())
		if err != nil {
			return err
		}
		defer source.close()
		result, err := source.check()
		if err != nil {
			return err
		}
		if err := result.write(cmd, *asJSON); err != nil {
			return err
		}
		if len(result.Damaged) > 0 {
			return fmt.Errorf("%s: %w", client.command, spool.ErrDamaged)
		}
		return nil
	}
	return cmd
}

// write writes what a check found.
func (v checkView) write(cmd *cobra.Command, asJSON bool) error {
	if asJSON {
		return writeLines(cmd.OutOrStdout(), []checkView{v})
	}
	for _, id := range v.Damaged {
		fmt.Fprintln(cmd.OutOrStdout(), id)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d items, %d damaged, %d messages that were nobody's deleted\n", v.Items, len(v.Damaged), v.Orphans)
	return nil
}

// queueConcurrencyCommand is "caddy esmtp queue concurrency".
func queueConcurrencyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "concurrency <n>",
		Short:   "Changes how many deliveries are made at a time, until the next reload",
		Example: `  caddy esmtp queue concurrency 20`,
		Args:    cobra.ExactArgs(1),
	}
	client := newQueueClient(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage = true
		var order struct {
			Concurrency json.Number `json:"concurrency"`
		}
		if err := json.Unmarshal([]byte(args[0]), &order.Concurrency); err != nil {
			return errors.New("esmtp queue concurrency: want a number above 0, not " + args[0])
		}
		path, err := client.path()
		if err != nil {
			return err
		}
		var now struct{ Active, Concurrency int }
		if err := client.post(path+"/concurrency", nil, order, &now); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d of %d\n", now.Active, now.Concurrency)
		return nil
	}
	return cmd
}
