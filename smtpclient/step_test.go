package smtpclient_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// Step by step, as a front door does it that hands on each reply.
func TestStepByStep(t *testing.T) {
	for _, o := range []*smtpclient.Options{nil, {LMTP: true}} {
		box := &inbox{refuse: map[string]esmtp.Reply{"gone": esmtp.Deny(550, 5, 1, 1, "gone")}}
		c := dial(t, serve(t, box, func(srv *esmtp.Server) { srv.LMTP = o != nil }), o)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		check := func(r esmtp.Reply, err error, code int) {
			t.Helper()
			if r.Code != code || (err == nil) != (code < 400) {
				t.Errorf("%v %v, want %d", r, err, code)
			}
		}
		begin := func() {
			t.Helper()
			r, err := c.Mail(ctx, path(t, "ann@x.example", "XOORG=no"), "BODY=8BITMIME")
			check(r, err, 250)
			r, err = c.Rcpt(ctx, paths(t, "bob@x.example")[0])
			check(r, err, 250)
			r, err = c.Rcpt(ctx, paths(t, "gone@x.example")[0])
			check(r, err, 550)
			r, err = c.Rcpt(ctx, paths(t, "cy@x.example")[0])
			check(r, err, 250)
		}
		replies := 1
		if o != nil {
			replies = 2
		}
		begin()
		w, r, err := c.Data(ctx)
		check(r, err, 354)
		if _, err := c.Noop(ctx); !errors.Is(err, smtpclient.ErrArgument) {
			t.Error("NOOP in a message", err)
		}
		for _, piece := range strings.SplitAfter(text, "e") {
			if _, err := w.Write([]byte(piece)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := w.End()
		if len(got) != replies || err != nil || got[0].Code != 250 || box.messages[0].data.String() != text {
			t.Errorf("%v %v", got, err)
		}
		begin()
		r, err = c.Reset(ctx)
		check(r, err, 250)
		begin()
		for i, piece := range []string{text[:21], text[21:30], text[30:]} {
			got, err := c.Bdat(ctx, []byte(piece), i == 2)
			if err != nil || len(got) != 1 && i < 2 || i == 2 && len(got) != replies {
				t.Errorf("%v %v", got, err)
			}
		}
		if got := box.messages[1].data.String(); got != text {
			t.Errorf("%q", got)
		}
		r, err = c.Vrfy(ctx, "ann")
		check(r, err, 252)
		if _, err := c.Vrfy(ctx, "ann\r\nRSET"); !errors.Is(err, smtpclient.ErrArgument) || !c.Usable() {
			t.Error(err)
		}
		begin()
		if _, err := c.Bdat(ctx, []byte("a: b\r"), false); err != nil {
			t.Error(err) // its LF may come with the next
		}
		if _, err := c.Bdat(ctx, []byte("\n\r"), true); !errors.Is(err, smtpclient.ErrBareNewline) || c.Usable() {
			t.Error(err)
		}
	}
}

// A front door that streams hears of a refusal while its own client is still sending, and may itself give up.
func TestAMessageCanEndInItsMiddle(t *testing.T) {
	begin := func(ctx context.Context, c *smtpclient.Conn) *smtpclient.DataWriter {
		c.Mail(ctx, esmtp.Path{})
		c.Rcpt(ctx, paths(t, "bob@x.example")[0])
		w, _, err := c.Data(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	cause := errors.New("the client has left")
	for name, end := range map[string]func(*smtpclient.Conn, *smtpclient.DataWriter, context.CancelCauseFunc){
		"abort":  func(_ *smtpclient.Conn, w *smtpclient.DataWriter, _ context.CancelCauseFunc) { w.Abort() },
		"close":  func(c *smtpclient.Conn, _ *smtpclient.DataWriter, _ context.CancelCauseFunc) { c.Close() },
		"cancel": func(_ *smtpclient.Conn, _ *smtpclient.DataWriter, cancel context.CancelCauseFunc) { cancel(cause) },
	} {
		for _, size := range []int{10, 1 << 20} {
			box := &inbox{}
			c := dial(t, serve(t, box, nil), nil)
			ctx, cancel := context.WithCancelCause(t.Context())
			w := begin(ctx, c)
			if _, err := w.Write(bytes.Repeat([]byte("a: b\r\n"), size/6+1)); err != nil {
				t.Fatal(err)
			}
			end(c, w, cancel)
			<-closed(c)
			_, err := w.End()
			var e *smtpclient.Error
			if !errors.As(err, &e) || name == "cancel" && !errors.Is(err, cause) || c.Usable() {
				t.Errorf("%s, %d octets: %v", name, size, err)
			}
			if _, err := w.Write([]byte("x")); err == nil || len(box.messages) > 0 {
				t.Errorf("%s: went on", name)
			}
			cancel(nil)
		}
	}
}

// closed is closed when the connection is.
func closed(c *smtpclient.Conn) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		for c.NetConn().SetDeadline(time.Time{}) == nil {
			time.Sleep(time.Millisecond)
		}
		close(done)
	}()
	return done
}
