package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-esmtp/esmtp/spool"
)

// queueExportCommand is "caddy esmtp queue export".
func queueExportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export <id>...",
		Short: "Writes messages as .eml, or envelopes and messages as batch SMTP",
		Long: `
Writes the message of an item as it came, octet for octet: to the standard output,
or with --dir into a file <id>.eml of that folder, which any number of items can be
written to. Files that are there already are left alone, and are an error.

--batch
    Writes any number of items to the standard output as batch SMTP (RFC 2442):
    their messages, senders, and the recipients that remain. "caddy esmtp inject"
    hands that to a mail server. The items stay where they are. One that is gone
    meanwhile is left out and told of, and the exit code is 1.
`,
		Example: `  caddy esmtp queue export 1jkyh0w3ebb3g >message.eml
  caddy esmtp queue export --state quarantined --dir /tmp/quarantine
  caddy esmtp queue export --state queued --batch >queue.bsmtp`,
	}
	client := newQueueClient(cmd)
	client.spoolFlag(cmd)
	query := itemFlags(cmd)
	dir := cmd.Flags().String("dir", "", "Write files into this folder")
	batch := cmd.Flags().Bool("batch", false, "Write batch SMTP")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		cmd.SilenceUsage = true
		filter := query()
		switch {
		case len(ids) > 0 && len(filter) > 0:
			return errors.New("esmtp queue export: takes ids or flags that choose items, not both")
		case len(ids) == 0 && len(filter) == 0:
			return errors.New("esmtp queue export: which items? Give their ids, --state or another flag")
		case *batch && *dir != "":
			return errors.New("esmtp queue export: --batch writes to the standard output, --dir into files: take one of them")
		case len(ids) != 1 && *dir == "" && !*batch:
			return errors.New("esmtp queue export: where to? --dir names a folder for the files")
		}
		source, err := client.open(cmd.Context())
		if err != nil {
			return err
		}
		defer source.close()
		if *dir == "" && !*batch {
			return exportTo(source, ids[0], cmd.OutOrStdout())
		}
		if len(ids) == 0 {
			if err := allItems(source, filter, func(items []itemView) error {
				for _, it := range items {
					ids = append(ids, it.ID.String())
				}
				return nil
			}); err != nil {
				return err
			}
		}
		if *batch {
			return exportBatch(source, ids, cmd.OutOrStdout())
		}
		var errs []error
		for _, id := range ids {
			name, err := exportFile(source, id, *dir)
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), name)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	return cmd
}

// exportTo writes a message.
func exportTo(source queueSource, id string, w io.Writer) error {
	body, err := source.message(id)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(w, body); err != nil {
		return fmt.Errorf("esmtp queue export: message of %s is not whole: %w", id, err)
	}
	return nil
}

// exportFile writes a message into a file of a folder, all of it or none.
func exportFile(source queueSource, text, dir string) (name string, err error) {
	id, err := spool.ParseID(strings.ToLower(text)) // what is no ID is no name of a file
	if err != nil {
		return "", fmt.Errorf("esmtp queue export: %q: %w", text, err)
	}
	name = filepath.Join(dir, id.String()+".eml")
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("esmtp queue export: %w", err)
	}
	err = exportTo(source, text, file)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		os.Remove(name)
	}
	return name, err
}
