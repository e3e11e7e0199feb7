package caddymodule

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
	"github.com/caddy-esmtp/esmtp/spool"
)

// exportBatch writes items as a batch. If that breaks off the batch has no QUIT, and the message at which it did no end.
func exportBatch(source queueSource, ids []string, w io.Writer) error {
	name, err := os.Hostname()
	if err != nil || strings.ContainsAny(name, " \t") {
		name = "localhost"
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "EHLO %s\r\n", name)
	for _, id := range ids {
		if err := exportItem(source, id, out); err != nil {
			out.Flush()
			return fmt.Errorf("esmtp queue export: %s: %w", id, err)
		}
	}
	fmt.Fprint(out, "QUIT\r\n")
	return out.Flush()
}

func exportItem(source queueSource, id string, w io.Writer) error {
	it, err := source.item(id, nil)
	if err != nil {
		return err
	}
	from, err := batchSender(it)
	if err != nil {
		return err
	}
	var to []esmtp.Path
	for _, rcpt := range it.Recipients {
		if rcpt.State != spool.Remaining {
			continue
		}
		path, err := rcpt.Path.Path()
		if err != nil {
			return err
		}
		to = append(to, path)
	}
	if len(to) == 0 {
		return nil
	}
	body, err := source.message(id)
	if err != nil {
		return err
	}
	defer body.Close()
	return smtpclient.WriteBatch(w, from, to, body, it.Size)
}

// batchSender is the sender, with what the message needs: a client asks for it, a report of ours doesn't.
func batchSender(it itemView) (esmtp.Path, error) {
	from, err := it.Sender.Path()
	if err != nil {
		return from, err
	}
	params := it.Sender.Params
	if slices.Contains(it.Needs, "utf8") && !from.SMTPUTF8() {
		params += " SMTPUTF8"
	}
	if slices.Contains(it.Needs, "8bit") && from.Body() < esmtp.Body8BitMIME {
		params += " BODY=8BITMIME"
	}
	return spool.Path{Address: it.Sender.Address, Params: strings.TrimSpace(params)}.Path()
}
