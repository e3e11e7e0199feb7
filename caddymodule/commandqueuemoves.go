package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

// queueMoveCommands are "caddy esmtp queue retry" and the other commands that move items.
func queueMoveCommands() []*cobra.Command {
	return []*cobra.Command{
		queueRetryCommand(),
		queueFreezeCommand(),
		queueMoveCommand("thaw", "thaw", "Puts frozen or damaged items back into the queue", "  caddy esmtp queue thaw --route example.com", noOrder),
		queueMoveCommand("remove", "remove", "Removes items, which can be recovered for a while", "  caddy esmtp queue remove --sender '*@spam.example'", noOrder),
		queueMoveCommand("recover", "recover", "Brings removed items back, frozen", "  caddy esmtp queue recover 1jkyh0w3ebb3g", noOrder),
		queueReleaseCommand(),
	}
}

func noOrder() (any, error) { return struct{}{}, nil }

// queueMoveCommand makes a command that moves items by their ids, or those that flags choose. order is how it is to be done.
func queueMoveCommand(name, move, short, example string, order func() (any, error)) *cobra.Command {
	cmd := &cobra.Command{Use: name + " [<id>...]", Short: short, Example: example}
	cmd.Long = "\n" + short + `: those whose ids are given, or those of
which all that the flags say is true. Writes the ids of those with which it was done.
If some could not be moved it says why, and the exit code is 1.
`
	client := newQueueClient(cmd)
	filter := itemFlags(cmd)
	all := cmd.Flags().Bool("all", false, "All items that it can be done with")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		cmd.SilenceUsage = true
		query := filter()
		if *all {
			query.Set("all", "1")
		}
		switch {
		case len(ids) > 0 && len(query) > 0:
			return fmt.Errorf("%s: takes ids or flags that choose items, not both", client.command)
		case len(ids) == 0 && len(query) == 0:
			return fmt.Errorf("%s: which items? Give their ids, --route or another flag, or --all", client.command)
		}
		body, err := order()
		if err != nil {
			return fmt.Errorf("%s: %w", client.command, err)
		}
		path, err := client.path()
		if err != nil {
			return err
		}
		m := mover{client: client, path: path + "/items/" + move, order: body, out: cmd.OutOrStdout()}
		for part := range slices.Chunk(ids, mostMovedByID) {
			if err := m.move(url.Values{"id": {strings.Join(part, ",")}}); err != nil {
				return err
			}
		}
		if len(ids) == 0 {
			if err := m.move(query); err != nil {
				return err
			}
		}
		return m.result()
	}
	return cmd
}

// mover moves items, in as many requests as it takes.
type mover struct {
	client *queueClient
	path   string
	order  any
	out    io.Writer
	done   int
	errs   []error
}

func (m *mover) move(query url.Values) error {
	for {
		var view movedView
		if err := m.client.post(m.path, query, m.order, &view); err != nil {
			return err
		}
		for _, id := range view.Done {
			if _, err := fmt.Fprintln(m.out, id); err != nil {
				return err
			}
		}
		for _, item := range view.Failed {
			text := item.Error
			if !strings.Contains(text, item.ID.String()) {
				text = item.ID.String() + ": " + text
			}
			m.errs = append(m.errs, fmt.Errorf("%s: %s", m.client.command, text))
		}
		m.done += len(view.Done)
		if view.Next == "" || len(view.Done)+len(view.Failed) == 0 {
			return nil
		}
		query.Set("after", view.Next)
	}
}

func (m *mover) result() error {
	if m.done == 0 && len(m.errs) == 0 {
		return fmt.Errorf("%s: there is no such item", m.client.command)
	}
	return errors.Join(m.errs...)
}

// queueRetryCommand is "caddy esmtp queue retry".
func queueRetryCommand() *cobra.Command {
	var waits []string
	var failed bool
	cmd := queueMoveCommand("retry", "send", "Sends queued or frozen items now", "  caddy esmtp queue retry --route example.com --wait 10m,1h", func() (any, error) {
		order := sendOrder{Failed: failed}
		for _, text := range waits {
			wait, err := caddy.ParseDuration(text)
			if err != nil {
				return nil, fmt.Errorf("--wait has durations, such as 10m, not %q", text)
			}
			order.Retry = append(order.Retry, caddy.Duration(wait))
		}
		return order, nil
	})
	cmd.Flags().StringSliceVar(&waits, "wait", nil, "Try so many times more, after these waits, such as 10m,1h, before the usual ones")
	cmd.Flags().BoolVar(&failed, "failed", false, "Try recipients that have failed, too")
	return cmd
}

// queueFreezeCommand is "caddy esmtp queue freeze".
func queueFreezeCommand() *cobra.Command {
	var order freezeOrder
	cmd := queueMoveCommand("freeze", "freeze", "Takes items out of the queue until they are thawed",
		`  caddy esmtp queue freeze --route example.com --reason "their server is broken"`, func() (any, error) { return order, nil })
	cmd.Flags().StringVar(&order.Reason, "reason", "frozen by the administrator", "Why, for people")
	return cmd
}

// queueReleaseCommand is "caddy esmtp queue release".
func queueReleaseCommand() *cobra.Command {
	var from string
	var order releaseOrder
	var cmd *cobra.Command
	cmd = queueMoveCommand("release", "release", "Sends items out of quarantine", "  caddy esmtp queue release 1jkyh0w3ebb3g --to postmaster@example.org", func() (any, error) {
		if cmd.Flags().Changed("from") {
			order.Sender = &from
		}
		return order, nil
	})
	cmd.Flags().StringVar(&from, "from", "", "Another sender; '' or <> is the null sender")
	cmd.Flags().StringArrayVar(&order.Recipients, "to", nil, "Other recipients, instead of those that it has")
	cmd.Flags().StringArrayVar(&order.NextHops, "next-hop", nil, "Other next hops, instead of those that it would go to")
	cmd.Flags().BoolVar(&order.Wrap, "wrap", false, "As an attachment of a message that says why it was held")
	cmd.Flags().StringVar(&order.Reason, "reason", "", "What that message says, instead of the reason that the item has")
	return cmd
}
