package smtpclient_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

func TestSomeRecipientsRefusedAndTheOthersGetTheMessage(t *testing.T) {
	for _, without := range [][]string{nil, {"PIPELINING"}, {"PIPELINING", "CHUNKING"}} {
		box := &inbox{without: without, refuse: map[string]esmtp.Reply{
			"gone": esmtp.Deny(550, 5, 1, 1, "no such user"), "full": esmtp.Deny(452, 4, 2, 2, "full"),
		}}
		c := dial(t, serve(t, box, nil), nil)
		res, err := c.Send(t.Context(), &smtpclient.Message{To: paths(t, "gone@x.example", "ann@x.example", "full@x.example"), Body: strings.NewReader(text), Size: int64(len(text))})
		var e *smtpclient.Error
		if !errors.As(err, &e) || e.Class != smtpclient.Permanent || e.Verb != "RCPT" || esmtp.ReplyOf(err).Code != 550 {
			t.Errorf("%v: %v", without, err)
		}
		r := res.Recipients
		if !res.Delivered() || r[0].Reply.Enh != (esmtp.Enhanced{5, 1, 1}) || r[1].Err != nil || r[1].Reply.Code != 250 || r[2].Err.Class != smtpclient.Temporary {
			t.Errorf("%v: %+v", without, r)
		}
		if len(box.messages) != 1 || len(box.messages[0].to) != 1 || box.messages[0].data.String() != text || !c.Usable() {
			t.Errorf("%v: %d messages", without, len(box.messages))
		}
	}
}

func TestARefusalLeavesAConnectionThatCanBeUsed(t *testing.T) {
	no := esmtp.Deny(550, 5, 7, 1, "no")
	for verb, refuse := range map[string]map[string]esmtp.Reply{
		"MAIL": {"MAIL": no}, "RCPT": {"ann": no}, "message": {"EOM": no},
	} {
		for _, without := range []string{"-", "PIPELINING"} {
			box := &inbox{without: []string{without}, refuse: refuse}
			c := dial(t, serve(t, box, nil), nil)
			for range 2 {
				res, err := c.Send(t.Context(), &smtpclient.Message{To: paths(t, "ann@x.example"), Body: strings.NewReader(text)})
				var e *smtpclient.Error
				if !errors.As(err, &e) || e.Verb != verb || e.Class != smtpclient.Permanent || e.Local || res.Recipients[0].Reply.Code != 550 {
					t.Errorf("%s: %v %+v", verb, err, res)
				}
			}
			box.refuse = nil
			if _, err := c.Send(t.Context(), &smtpclient.Message{To: paths(t, "ann@x.example"), Body: strings.NewReader(text)}); err != nil {
				t.Errorf("%s: %v", verb, err)
			}
		}
		quits := dial(t, serve(t, &inbox{refuse: refuse}, nil), &smtpclient.Options{QuitOnError: true})
		quits.Send(t.Context(), &smtpclient.Message{To: paths(t, "ann@x.example"), Body: strings.NewReader(text)})
		if quits.Usable() {
			t.Errorf("%s: did not quit", verb)
		}
	}
}

func TestManyRecipientsGoInBatches(t *testing.T) {
	box := &inbox{}
	addr := serve(t, box, func(srv *esmtp.Server) { srv.Limits.Recipients = 5000 })
	var to []esmtp.Path
	for i := range 1200 {
		to = append(to, path(t, strings.Repeat("long", 10)+strconv.Itoa(i)+"@x.example", "NOTIFY=NEVER"))
	}
	for _, o := range []*smtpclient.Options{nil, {Limits: smtpclient.Limits{Pipelined: 7}}, {Ignore: []string{"pipelining"}}} {
		c := dial(t, addr, o)
		if _, err := c.Send(t.Context(), &smtpclient.Message{To: to, Body: strings.NewReader(text)}); err != nil {
			t.Error(err)
		}
		if got := box.messages[len(box.messages)-1]; len(got.to) != len(to) || got.to[1199].Notify() != esmtp.NotifyNever {
			t.Error(len(got.to))
		}
	}
}

// Every parameter is sent if it is offered, and never otherwise.
func TestParametersAreThoseThatWereOffered(t *testing.T) {
	from := "RET=HDRS ENVID=abc MT-PRIORITY=3 BY=100;N SIZE=99 BODY=8BITMIME AUTH=<> XOORG=1"
	to := "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;ann@x.example RRVS=2026-01-01T00:00:00Z"
	for _, test := range []struct {
		name            string
		offers, without []string
		mail, rcpt      string
	}{
		{"usual", nil, nil, "SIZE=30 BODY=8BITMIME RET=HDRS ENVID=abc", "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;ann@x.example"},
		{"all", []string{"MT-PRIORITY", "DELIVERBY", "RRVS"}, nil, "SIZE=30 BODY=8BITMIME BY=60;N RET=HDRS ENVID=abc MT-PRIORITY=3", to},
		{"none", nil, []string{"SIZE", "8BITMIME", "DSN", "SMTPUTF8"}, "", ""},
	} {
		box := &inbox{offers: test.offers, without: test.without}
		c := dial(t, serve(t, box, nil), nil)
		res, err := c.Send(t.Context(), &smtpclient.Message{From: path(t, "ann@x.example", from), To: []esmtp.Path{path(t, "bob@x.example", to)},
			Body: strings.NewReader("Subject: a\r\n\r\nthis is text..\r\n"), Size: 30, Deadline: time.Now().Add(61*time.Second - time.Millisecond)})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		got := box.messages[0]
		if got.from.Params() != test.mail || got.to[0].Params() != test.rcpt || res.DSN == (test.name == "none") {
			t.Errorf("%s: %q %q, want %q %q", test.name, got.from.Params(), got.to[0].Params(), test.mail, test.rcpt)
		}
	}
}

// An original recipient in UTF-8 goes as ASCII where it has to (RFC 6533 §3).
func TestAnInternationalOriginalRecipient(t *testing.T) {
	for _, without := range []string{"SMTPUTF8", "-"} {
		box := &inbox{without: []string{without}}
		c := dial(t, serve(t, box, nil), nil)
		to := path(t, "bob@x.example", "ORCPT=utf-8;bücher@x.example")
		_, err := c.Send(t.Context(), &smtpclient.Message{To: []esmtp.Path{to}, Body: strings.NewReader(text)})
		if err != nil {
			t.Fatal(err)
		}
		kind, addr := box.messages[0].to[0].ORcpt()
		if raw := box.messages[0].to[0].Params(); kind != "utf-8" || addr != "bücher@x.example" || !strings.Contains(raw, `b\x{FC}cher`) {
			t.Errorf("%s: %q %q %q", without, kind, addr, raw)
		}
	}
}

// What a message needs and the server lacks is told before anything of it is sent.
func TestWhatAMessageNeeds(t *testing.T) {
	for _, test := range []struct {
		name    string
		m       smtpclient.Message
		offers  []string
		without []string
		class   smtpclient.Class // 0: it goes
		code    string
	}{
		{"utf8 in a local part", smtpclient.Message{To: paths(t, "bücher@x.example")}, nil, nil, 0, "SMTPUTF8"},
		{"and not offered", smtpclient.Message{To: paths(t, "bücher@x.example")}, nil, []string{"SMTPUTF8"}, smtpclient.MissingRequirement, "5.6.7"},
		{"in the sender", smtpclient.Message{From: path(t, "bücher@x.example", ""), To: paths(t, "a@x.example")}, nil, []string{"SMTPUTF8"}, smtpclient.MissingRequirement, "5.6.7"},
		{"in the header", smtpclient.Message{To: paths(t, "a@x.example"), UTF8: true}, nil, []string{"SMTPUTF8"}, smtpclient.MissingRequirement, "5.6.7"},
		{"in a domain", smtpclient.Message{To: paths(t, "a@bücher.example")}, nil, []string{"SMTPUTF8"}, 0, ""},
		{"8 bit", smtpclient.Message{To: paths(t, "a@x.example"), Type: esmtp.Body8BitMIME}, nil, []string{"8BITMIME"}, smtpclient.MissingRequirement, "5.6.3"},
		{"binary", smtpclient.Message{To: paths(t, "a@x.example"), Type: esmtp.BodyBinaryMIME}, nil, []string{"BINARYMIME"}, smtpclient.MissingRequirement, "5.6.3"},
		{"requiretls in the clear", smtpclient.Message{To: paths(t, "a@x.example"), RequireTLS: true}, nil, nil, smtpclient.MissingRequirement, "5.7.10"},
		{"requiretls of a report", smtpclient.Message{From: path(t, "", "REQUIRETLS"), To: paths(t, "a@x.example")}, nil, nil, 0, ""},
		{"too big", smtpclient.Message{To: paths(t, "a@x.example"), Size: 1 << 50}, nil, nil, smtpclient.Permanent, "5.3.4"},
		{"by, returned", smtpclient.Message{From: path(t, "a@x.example", "BY=10;R"), To: paths(t, "a@x.example")}, nil, nil, smtpclient.MissingRequirement, "5.4.7"},
		{"by, over", smtpclient.Message{From: path(t, "a@x.example", "BY=10;R"), To: paths(t, "a@x.example"), Deadline: time.Now()}, []string{"DELIVERBY"}, nil, smtpclient.Permanent, "5.4.7"},
		{"by, too short", smtpclient.Message{From: path(t, "a@x.example", "BY=10;R"), To: paths(t, "a@x.example")}, []string{"DELIVERBY 60"}, nil, smtpclient.MissingRequirement, "5.4.7"},
		{"by, told", smtpclient.Message{From: path(t, "a@x.example", "BY=10;N"), To: paths(t, "a@x.example")}, []string{"DELIVERBY 60"}, nil, 0, "BY="},
	} {
		box := &inbox{offers: test.offers, without: test.without}
		c := dial(t, serve(t, box, nil), nil)
		test.m.Body = strings.NewReader(text)
		res, err := c.Send(t.Context(), &test.m)
		var e *smtpclient.Error
		switch {
		case test.class == 0 && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.class == 0:
			if !strings.Contains(box.messages[0].from.Params(), test.code) {
				t.Errorf("%s: %q", test.name, box.messages[0].from.Params())
			}
		case !errors.As(err, &e) || e.Class != test.class || !e.Local || e.Reply.Enh.String() != test.code || res.Delivered():
			t.Errorf("%s: %v", test.name, err)
		case !c.Usable() || len(box.messages) > 0:
			t.Errorf("%s: the connection was used", test.name)
		}
	}
}

// What is only found on the way ends the connection, and nothing is delivered.
func TestAMessageThatIsNotWhatItShouldBeIsNotDelivered(t *testing.T) {
	long := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 2000)
	for _, test := range []struct {
		name, body string
		m          smtpclient.Message
		without    []string
		want       error
		class      smtpclient.Class
	}{
		{"bare LF", "a: b\r\n\r\nx\n.\nMAIL\r\n", smtpclient.Message{}, nil, smtpclient.ErrBareNewline, smtpclient.Permanent},
		{"bare CR", "a: b\r\n\r\nx\r.\rMAIL\r\n", smtpclient.Message{}, nil, smtpclient.ErrBareNewline, smtpclient.Permanent},
		{"CR at the end", "a: b\r\n\r\nx\r", smtpclient.Message{}, nil, smtpclient.ErrBareNewline, smtpclient.Permanent},
		{"bare LF late", long + "\n", smtpclient.Message{}, nil, smtpclient.ErrBareNewline, smtpclient.Permanent},
		{"bare LF in a chunk", long + "\n", smtpclient.Message{Size: int64(len(long)) + 1}, nil, smtpclient.ErrBareNewline, smtpclient.Permanent},
		{"too long", long, smtpclient.Message{Size: int64(len(long)) - 1}, nil, smtpclient.ErrSize, smtpclient.Temporary},
		{"too short", long, smtpclient.Message{Size: int64(len(long)) + 1}, nil, smtpclient.ErrSize, smtpclient.Temporary},
		{"too short by DATA", long, smtpclient.Message{Size: int64(len(long)) + 1}, []string{"CHUNKING"}, smtpclient.ErrSize, smtpclient.Temporary},
		{"8 bit", "a: b\r\n\r\n\xfc\r\n", smtpclient.Message{}, []string{"8BITMIME", "SMTPUTF8"}, smtpclient.Err8Bit, smtpclient.MissingRequirement},
		{"8 bit header", "a: \xfc\r\n\r\nx\r\n", smtpclient.Message{From: path(t, "ann@x.example", "SMTPUTF8")}, []string{"SMTPUTF8"}, smtpclient.Err8Bit, smtpclient.MissingRequirement},
	} {
		box := &inbox{without: test.without}
		c := dial(t, serve(t, box, func(srv *esmtp.Server) { srv.BareNewlines = esmtp.PassBare }), nil)
		test.m.Body, test.m.To = strings.NewReader(test.body), paths(t, "bob@x.example")
		_, err := c.Send(t.Context(), &test.m)
		var e *smtpclient.Error
		if !errors.Is(err, test.want) || !errors.As(err, &e) || e.Class != test.class || c.Usable() {
			t.Errorf("%s: %v", test.name, err)
		}
		if _, err := c.Noop(t.Context()); !errors.Is(err, smtpclient.ErrClosed) || !errors.As(err, &e) || e.Class != smtpclient.Network || esmtp.ReplyOf(err).Code != 451 {
			t.Errorf("%s: afterwards %v", test.name, err)
		}
		if len(box.messages) > 0 {
			t.Errorf("%s: delivered", test.name)
		}
	}
}

func TestWhatCanBeMendedIs(t *testing.T) {
	for _, test := range []struct {
		body, want string
		m          smtpclient.Message
		without    []string
	}{
		{"a: b\n\n.x\ry", "a: b\r\n\r\n.x\r\ny\r\n", smtpclient.Message{FixNewlines: true, Size: 10}, nil},
		{"a: b\r\n\r\nx", "a: b\r\n\r\nx\r\n", smtpclient.Message{}, nil},
		{"a: b\r\n\r\n\xfc\r\n", "a: b\r\n\r\n\xfc\r\n", smtpclient.Message{From: path(t, "ann@x.example", "SMTPUTF8")}, []string{"SMTPUTF8"}},
	} {
		box := &inbox{without: test.without}
		c := dial(t, serve(t, box, nil), nil)
		test.m.Body, test.m.To = strings.NewReader(test.body), paths(t, "bob@x.example")
		if _, err := c.Send(t.Context(), &test.m); err != nil || box.messages[0].data.String() != test.want {
			t.Errorf("%q: %v", test.body, err)
		}
	}
}

// By DATA, in one chunk and in many, whatever the size: it is the same message.
func TestLongMessagesComeOctetForOctet(t *testing.T) {
	for _, size := range []int{1, 1000, 32 << 10, 64<<10 - 3, 64 << 10, 200 << 10, 1 << 20} {
		body := (strings.Repeat("a: b\r\n\r\n..\x01\xff\r\n.\r\n\r\n"+strings.Repeat("y", 300)+"\r\n", size/300+1))[:size]
		for strings.HasSuffix(body, "\r") || !strings.HasSuffix(body, "\n") {
			body = body[:len(body)-1] + "\n"
			if len(body) > 1 {
				body = body[:len(body)-2] + "\r\n"
			} else {
				body = "\r\n"
			}
		}
		for _, m := range []smtpclient.Message{{}, {Size: int64(len(body))}, {Type: esmtp.BodyBinaryMIME}, {Type: esmtp.BodyBinaryMIME, Size: int64(len(body))}} {
			box := &inbox{}
			c := dial(t, serve(t, box, func(srv *esmtp.Server) { srv.BadHeader = esmtp.KeepBad }), nil)
			sent := body
			if m.Type == esmtp.BodyBinaryMIME {
				sent = "a: b\r\n\r\n\r\n\n\n\r" + body
				m.Size += 13 * min(m.Size, 1)
			}
			m.Body, m.To = strings.NewReader(sent), paths(t, "bob@x.example")
			if _, err := c.Send(t.Context(), &m); err != nil || box.messages[0].data.String() != sent {
				t.Errorf("%d octets, %v %d: %v", size, m.Type, m.Size, err)
			}
		}
	}
}
