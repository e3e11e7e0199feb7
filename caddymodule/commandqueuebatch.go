package caddymodule

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
	"github.com/caddy-esmtp/esmtp/spool"
)

// exportBatch writes items as a batch. One that can't be had, as it was delivered meanwhile, is left out. If a message breaks off the batch does, too: it
// has no QUIT then.
func exportBatch(source queueSource, ids []string, w io.Writer) error {
	name, err := os.Hostname()
	if err != nil || strings.ContainsAny(name, " \t") {
		name = "localhost"
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "EHLO %s\r\n", name)
	var errs []error
	for _, id := range ids {
		part, err := newBatchPart(source, id)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := part.write(out); err != nil {
			return errors.Join(append(errs, fmt.Errorf("esmtp queue export: %s: %w", id, err), out.Flush())...)
		}
	}
	fmt.Fprint(out, "QUIT\r\n")
	return errors.Join(append(errs, out.Flush())...)
}

// batchPart is an item in a batch.
type batchPart struct {
	from esmtp.Path
	to   []esmtp.Path // none: there is nothing to do
	body io.ReadCloser
	size int64
}

// newBatchPart gets all that can be missing, before a line is written.
func newBatchPart(source queueSource, id string) (part batchPart, err error) {
	it, err := source.item(id, nil)
	if err != nil {
		return part, err
	}
	if part.from, part.to, err = batchEnvelope(it); err != nil {
		return part, fmt.Errorf("esmtp queue export: %s: %w", id, err)
	}
	if part.size = it.Size; len(part.to) > 0 {
		part.body, err = source.message(id)
	}
	return part, err
}

func (part batchPart) write(w io.Writer) error {
	if len(part.to) == 0 {
		return nil
	}
	defer part.body.Close()
	return smtpclient.WriteBatch(w, part.from, part.to, part.body, part.size)
}

// batchEnvelope is the sender, and the recipients that remain.
func batchEnvelope(it itemView) (from esmtp.Path, to []esmtp.Path, err error) {
	if from, err = batchSender(it); err != nil {
		return from, nil, err
	}
	for _, rcpt := range it.Recipients {
		if rcpt.State != spool.Remaining {
			continue
		}
		path, err := rcpt.Path.Path()
		if err != nil {
			return from, nil, err
		}
		to = append(to, path)
	}
	return from, to, nil
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
