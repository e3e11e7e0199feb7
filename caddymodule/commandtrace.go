package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/caddy-esmtp/esmtp/caddymodule/internal/trace"
)

// traceCommand is "caddy esmtp trace".
func traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace <what> [<log file>...]",
		Short: "Finds what has become of a message in the log",
		Long: `
Reads Caddy's log, in JSON, from files or the standard input, and writes the story of
each message that was asked for: how it came, what each attempt to deliver it came
to, the report about it, and how its session ended. Old logs come first; those that
end with .gz need not be uncompressed.

What to look for is an address that mail is from or to, or a domain as @example.org;
the ID of a session, of a transaction, or of an item in a queue, as the client heard
it in "queued as 038gb0tkr0000"; a user, or the IP address of a client; a word of a
reply, such as the ID that the next server gave.

--json
    Writes the lines as they are in the log.
`,
		Example: `  caddy esmtp trace bob@example.net /var/log/caddy/mail*
  journalctl -u caddy -o cat | caddy esmtp trace 038gb0tkr0000`,
		Args: cobra.MinimumNArgs(1),
	}
	asJSON := cmd.Flags().Bool("json", false, "Write the lines as they are in the log")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage = true
		what, files := args[0], args[1:]
		if len(files) == 0 {
			file, err := keep(cmd.InOrStdin())
			if err != nil {
				return fmt.Errorf("esmtp trace: %w", err)
			}
			defer os.Remove(file)
			files = []string{file}
		}
		return writeTrace(cmd.OutOrStdout(), what, files, *asJSON)
	}
	return cmd
}

// keep writes what is read into a file, as it will be read again.
func keep(r io.Reader) (name string, err error) {
	file, err := os.CreateTemp("", "esmtp-trace-")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(file, r)
	if err = errors.Join(err, file.Close()); err != nil {
		os.Remove(file.Name())
		return "", err
	}
	return file.Name(), nil
}

func writeTrace(w io.Writer, what string, files []string, asJSON bool) error {
	found, err := trace.Find(trace.Files(files...), what)
	switch {
	case err != nil:
		return fmt.Errorf("esmtp trace: %w", err)
	case found.Entries == 0:
		return errors.New("esmtp trace: the log has no line of JSON; in a Caddyfile it is the log's \"format json\" that makes them")
	case len(found.Stories) == 0:
		return fmt.Errorf("esmtp trace: there is nothing about %q in the log", what)
	}
	for i, story := range found.Stories {
		if i > 0 && !asJSON {
			fmt.Fprintln(w)
		}
		if err := writeStory(w, story, asJSON); err != nil {
			return fmt.Errorf("esmtp trace: %w", err)
		}
	}
	return nil
}

func writeStory(w io.Writer, story trace.Story, asJSON bool) error {
	if !asJSON {
		_, err := story.WriteTo(w)
		return err
	}
	for _, line := range story.Lines {
		if _, err := fmt.Fprintf(w, "%s\n", line); err != nil {
			return err
		}
	}
	return nil
}
