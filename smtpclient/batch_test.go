package smtpclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/smtpclient"
)

// store keeps what a batch brings.
type store struct {
	esmtp.Default
	got  *[]string
	text []byte
}

func (m *store) EHLO(s *esmtp.Session, domain string) esmtp.Reply {
	r := m.Default.EHLO(s, domain)
	r.Lines = append(r.Lines, "PRDR")
	return r
}

func (m *store) Mechanisms(*esmtp.Session) []string { return []string{"LOGIN"} }

func (m *store) Authenticate(s *esmtp.Session, c esmtp.Credentials) esmtp.Reply {
	if c.Password == "secret" {
		return esmtp.Deny(235, 2, 7, 0, "hello")
	}
	return esmtp.Reply{}
}

func (m *store) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	if to.Local() == "nobody" {
		return esmtp.Deny(550, 5, 1, 1, "unknown")
	}
	m.text = m.text[:0]
	return m.Default.RCPT(s, to)
}

func (m *store) HEADER(s *esmtp.Session, name, value string) esmtp.Reply {
	m.text = append(m.text, s.Field(name, value)...)
	return esmtp.Reply{}
}

func (m *store) EOH(s *esmtp.Session, _ esmtp.HeaderEnd) esmtp.Reply {
	m.text = append(m.text, s.Separator()...)
	return esmtp.Reply{}
}

func (m *store) BODY(_ *esmtp.Session, chunk []byte) esmtp.Reply {
	m.text = append(m.text, chunk...)
	return esmtp.Reply{}
}

func (m *store) EOM(s *esmtp.Session) esmtp.Reply {
	tx := s.Transaction()
	var to []string
	for i, r := range tx.Recipients() {
		if r.Path.Local() == "full" {
			tx.SetReply(i, esmtp.Deny(452, 4, 2, 2, "full"))
		}
		to = append(to, r.Path.String())
	}
	*m.got = append(*m.got, tx.From().String()+">"+strings.Join(to, ",")+"|"+string(m.text))
	return esmtp.OK("kept")
}

// hear has a server hear a batch, and returns what it kept, the replies as "line command code", and the error.
func hear(t *testing.T, lmtp bool, batch io.Reader) (got, heard []string, err error) {
	t.Helper()
	srv := &esmtp.Server{Hostname: "mx.example.org", LMTP: lmtp, AllowInsecureAuth: true, ForbidEarly: true, Timeouts: esmtp.Timeouts{ErrorDelay: -1},
		Logger: slog.New(slog.DiscardHandler), NewHandler: func(*esmtp.Session) esmtp.Handler { return &store{got: &got} }}
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.ServeConn(theirs)
	}()
	err = smtpclient.Replay(t.Context(), ours, batch, func(line int, command string, r esmtp.Reply) {
		heard = append(heard, fmt.Sprintf("%d %.9s %d", line, command, r.Code))
	})
	<-done
	return got, heard, err
}

func TestReplaySaysWhatStandsInABatch(t *testing.T) {
	const two = "EHLO a\nMAIL FROM:<ann@a>\nRCPT TO:<b@x>\nRCPT TO:<c@x>\nDATA\nSubject: 1\n\n..dot\n...\ntext\n.\n" +
		"mail from:<ann@a> body=8bitmime\nrcpt to:<d@x>\ndata\nSubject: 2\n\nQUIT\n.\nquit\nEHLO never said\n"
	want := []string{"ann@a>b@x,c@x|Subject: 1\r\n\r\n.dot\r\n..\r\ntext\r\n", "ann@a>d@x|Subject: 2\r\n\r\nQUIT\r\n"}
	for name, batch := range map[string]io.Reader{
		"LF":           strings.NewReader(two),
		"CRLF":         strings.NewReader(strings.ReplaceAll(two, "\n", "\r\n")),
		"octet by one": iotest.OneByteReader(strings.NewReader(strings.ReplaceAll(two, "\n", "\r\n"))),
	} {
		got, heard, err := hear(t, false, batch)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if all := strings.Join(heard, "; "); !strings.HasPrefix(all, "0  220; 1 EHLO a 250; 2 MAIL FROM 250") || !strings.Contains(all, "5 DATA 354; 5 DATA 250; 12 mail from 250") ||
			!strings.HasSuffix(all, "14 data 354; 14 data 250; 19 quit 221") {
			t.Errorf("%s: heard %s", name, all)
		}
	}
}

// What is refused is in the error, and what belongs to it is not taken for commands.
func TestReplayGoesOnAfterRefusals(t *testing.T) {
	got, _, err := hear(t, false, strings.NewReader("EHLO a\nMAIL FROM:<>\nRCPT TO:<nobody@x>\nDATA\nMAIL FROM:<evil@x>\nRCPT TO:<bob@x>\n..\n.\n"+
		"RSET\nMAIL FROM:<>\nRCPT TO:<bob@x>\nRCPT TO:<nobody@x>\nDATA\nfine\n.\nQUIT\n"))
	if len(got) != 1 || got[0] != ">bob@x|\r\nfine\r\n" && got[0] != ">bob@x|fine\r\n" {
		t.Errorf("got %q", got)
	}
	want := `smtpclient: line 3: "RCPT TO:<nobody@x>": 550 5.1.1 unknown
smtpclient: line 4: "DATA": 554 5.5.1 No valid recipients, all were refused: unknown
smtpclient: line 12: "RCPT TO:<nobody@x>": 550 5.1.1 unknown`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	var refused *smtpclient.Refused
	if !errors.As(err, &refused) || refused.Line != 3 || esmtp.ReplyOf(err).Code != 550 {
		t.Errorf("got %+v", refused)
	}
}

// A batch that ends within a message, or is none, delivers nothing of it.
func TestReplayOfWhatIsNotWhole(t *testing.T) {
	const begin = "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@x>\r\n"
	for name, batch := range map[string]string{
		"nothing":             "",
		"no QUIT":             begin + "RSET\r\n",
		"half a line":         begin + "RSE",
		"within a message":    begin + "DATA\r\nSubject: x\r\n\r\ntext\r\n",
		"within the dot":      begin + "DATA\r\nSubject: x\r\n\r\ntext\r\n.",
		"within a chunk":      begin + "BDAT 100 LAST\r\ntext",
		"a chunk without end": begin + "BDAT x LAST\r\ntext\r\nQUIT\r\n",
		"a bare CR":           begin + "DATA\r\ntext\r.\rmore\r\n.\r\nQUIT\r\n",
		"a CR at the end":     begin + "DATA\r\ntext\r\n.\r\r\nQUIT\r\n.\r\nQUIT\r\n",
		"a failing reader":    "",
		"endless line":        strings.Repeat("x", 100<<10) + "\r\n",
	} {
		var in io.Reader = strings.NewReader(batch)
		if name == "a failing reader" {
			in = io.MultiReader(strings.NewReader(begin+"DATA\r\nx\r\n"), iotest.ErrReader(errors.New("the disk is gone")))
		}
		got, _, err := hear(t, false, in)
		if len(got) > 0 || !errors.Is(err, smtpclient.ErrArgument) {
			t.Errorf("%s: kept %q, %v", name, got, err)
		}
	}
}

func TestReplayWithAReplyForEachRecipient(t *testing.T) {
	const rest = "RCPT TO:<bob@x>\nRCPT TO:<full@x>\nRCPT TO:<nobody@x>\nDATA\n\nx\n.\nMAIL FROM:<>\nRCPT TO:<bob@x>\nBDAT 4\n\r\n\r\nBDAT 3 last\nx\r\nQUIT\n"
	for name, test := range map[string]struct {
		lmtp  bool
		batch string
		want  string
	}{
		"LMTP": {true, "LHLO a\nMAIL FROM:<>\n" + rest, "3 RCPT TO:< 250; 4 RCPT TO:< 250; 5 RCPT TO:< 550; 6 DATA 354; 6 DATA 250; 6 DATA 452; 10 MAIL FROM 250; 11 RCPT TO:< 250; 12 BDAT 4 250; 15 BDAT 3 la 250; 17 QUIT 221"},
		"PRDR": {false, "EHLO a\nMAIL FROM:<> PRDR\n" + rest, "6 DATA 354; 6 DATA 353; 6 DATA 250; 6 DATA 452; 6 DATA 250; 10 MAIL FROM 250;"},
	} {
		got, heard, err := hear(t, test.lmtp, strings.NewReader(test.batch))
		if all := strings.Join(heard, "; "); len(got) != 2 || !strings.Contains(all, test.want) || !strings.HasSuffix(all, "QUIT 221") {
			t.Errorf("%s: got %q, heard %s, %v", name, got, all, err)
		}
	}
}

func TestReplayLogsIn(t *testing.T) {
	_, heard, err := hear(t, false, strings.NewReader("EHLO a\nAUTH LOGIN\nYW5u\nc2VjcmV0\nAUTH LOGIN\nQUIT\n"))
	if all := strings.Join(heard, "; "); !strings.Contains(all, "2 AUTH 334; 2 AUTH 334; 2 AUTH 235; 5 AUTH 503") || strings.Contains(fmt.Sprint(err), "c2VjcmV0") {
		t.Errorf("heard %s, %v", all, err)
	}
	_, _, err = hear(t, false, strings.NewReader("EHLO a\nAUTH LOGIN\nYW5u\nd3Jvbmc=\nQUIT\n"))
	if want := `smtpclient: line 2: "AUTH": 535`; err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "d3Jvbmc") {
		t.Errorf("got %v", err)
	}
}

func TestReplayEndsWithItsContext(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if err := smtpclient.Replay(ctx, ours, strings.NewReader("EHLO a\n"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What WriteBatch writes comes out of Replay as it was, whatever is in it and wherever the blocks end.
func FuzzBatchesComeOutAsTheyWent(f *testing.F) {
	f.Add([]byte(".\r\n..\r\nSubject: x\r\n\r\n.\r\n"), false)
	f.Add(append(bytes.Repeat([]byte("x"), 64<<10-1), "\r\n.\r\n"...), false)
	f.Add([]byte("\x00\r.\n"), true)
	f.Fuzz(func(t *testing.T, body []byte, binary bool) {
		params := ""
		if binary {
			params = "BODY=BINARYMIME"
		} else {
			body = append(bytes.ReplaceAll(bytes.ReplaceAll(body, []byte("\r"), nil), []byte("\n"), []byte("\r\n")), "\r\n"...)
		}
		from, err := esmtp.NewPath("ann@example.org", params)
		if err != nil {
			t.Fatal(err)
		}
		to, err := esmtp.NewPath("bob@example.net", "")
		if err != nil {
			t.Fatal(err)
		}
		message := append([]byte("Subject: x\r\n\r\n"), body...)
		var batch bytes.Buffer
		batch.WriteString("EHLO a\r\n")
		if err := smtpclient.WriteBatch(&batch, from, []esmtp.Path{to}, bytes.NewReader(message), int64(len(message))); err != nil {
			t.Fatal(err)
		}
		batch.WriteString("QUIT\r\n")
		got, heard, err := hear(t, false, &batch)
		if want := "ann@example.org>bob@example.net|" + string(message); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("got %.300q, want %.300q, heard %v, %v", got, want, heard, err)
		}
	})
}

func TestWriteBatchRefusesWhatIsNoMessage(t *testing.T) {
	path := func(address, params string) esmtp.Path {
		p, err := esmtp.NewPath(address, params)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	from, binary := path("a@b", ""), path("a@b", "BODY=BINARYMIME")
	for name, test := range map[string]struct {
		from esmtp.Path
		body string
		size int64
		want error
	}{
		"bare LF":   {from, "x\ny\r\n", 0, smtpclient.ErrBareNewline},
		"bare CR":   {from, "x\r", 0, smtpclient.ErrBareNewline},
		"too short": {binary, "x", 2, smtpclient.ErrSize},
		"too long":  {binary, "xyz", 2, smtpclient.ErrSize},
	} {
		if err := smtpclient.WriteBatch(io.Discard, test.from, []esmtp.Path{from}, strings.NewReader(test.body), test.size); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
