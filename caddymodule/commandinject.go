package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// injectCommand is "caddy esmtp inject".
func injectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inject [<file>...]",
		Short: "Hands batches of mail to a mail server",
		Long: `
Reads batch SMTP (RFC 2442), from files or the standard input: what a client says,
from EHLO to QUIT. A server hears it as if it came from a client; each file is a
session. What is refused is written down, with its line, and makes the command fail;
the rest is done nevertheless. A message of which the end is missing is not
delivered.

--server
    Where to: host:port, or unix//path of a socket. Default: 127.0.0.1:25.

--replies
    Writes all replies, as <line>: <reply>.
`,
		Example: `  caddy esmtp inject --server 127.0.0.1:2525 mails.bsmtp
  caddy esmtp queue export --state queued --batch | caddy esmtp inject --server mx2.example.org:25`,
	}
	server := cmd.Flags().String("server", "127.0.0.1:25", "Where to")
	replies := cmd.Flags().Bool("replies", false, "Write all replies")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		cmd.SilenceUsage = true
		network, address, err := injectAddress(*server)
		if err != nil {
			return err
		}
		var heard func(int, string, esmtp.Reply)
		if *replies {
			heard = func(line int, _ string, r esmtp.Reply) { fmt.Fprintf(cmd.OutOrStdout(), "%d: %s\n", line, said(r)) }
		}
		if len(files) == 0 {
			return inject(cmd.Context(), network, address, "", cmd.InOrStdin(), heard)
		}
		var errs []error
		for _, name := range files {
			errs = append(errs, injectFile(cmd.Context(), network, address, name, heard))
		}
		return errors.Join(errs...)
	}
	return cmd
}

// injectAddress reads an address in Caddy's way.
func injectAddress(text string) (network, address string, err error) {
	addr, err := caddy.ParseNetworkAddressWithDefaults(text, "tcp", 25)
	if err != nil || addr.PortRangeSize() != 1 {
		return "", "", fmt.Errorf("esmtp inject: --server is host:port or unix//path, not %q", text)
	}
	if addr.IsUnixNetwork() {
		return "unix", addr.Host, nil
	}
	return addr.Network, addr.JoinHostPort(0), nil
}

// said is a reply as the server gave it, in one line.
func said(r esmtp.Reply) string {
	words := []string{strconv.Itoa(r.Code)}
	if r.Enh != (esmtp.Enhanced{}) {
		words = append(words, r.Enh.String())
	}
	return strings.Join(append(words, strings.Join(r.Lines, " / ")), " ")
}

func injectFile(ctx context.Context, network, address, name string, heard func(int, string, esmtp.Reply)) error {
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("esmtp inject: %w", err)
	}
	defer file.Close()
	return inject(ctx, network, address, name+": ", file, heard)
}

// inject hands over one batch. The error has a line for each refusal.
func inject(ctx context.Context, network, address, where string, batch io.Reader, heard func(int, string, esmtp.Reply)) error {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return fmt.Errorf("esmtp inject: %w", err)
	}
	err = smtpclient.Replay(ctx, conn, batch, heard)
	if err == nil {
		return nil
	}
	return errors.New(strings.ReplaceAll(err.Error(), "smtpclient: ", "esmtp inject: "+where))
}
