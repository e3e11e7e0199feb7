package esmtptest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// Dialogue returns what a client says in a random session: commands in an order that mostly makes sense, right ones and wrong
// ones, messages by DATA and BDAT with dots, lone CR and LF and false ends of data in them. intn returns a random number
// below n; that of a *rand.Rand will do.
func Dialogue(intn func(n int) int) []byte { return dialogueWith(intn, &esmtp.Server{}) }

// dialogueWith is Dialogue with a server of that kind.
func dialogueWith(intn func(n int) int, srv *esmtp.Server) []byte {
	g := &generator{intn: intn, srv: srv}
	if !g.one(12) {
		g.add(g.hello())
	}
	if srv.TLSConfig != nil && g.one(4) {
		g.add("STARTTLS")
	}
	if srv.AllowInsecureAuth && g.one(2) || g.one(12) {
		g.login()
	}
	for range 1 + intn(14) {
		switch {
		case g.one(3):
			g.stray()
		default:
			g.transaction()
		}
	}
	if !g.one(4) {
		g.add("QUIT")
	}
	if g.one(8) {
		g.add("NOOP") // nobody listens
	}
	return []byte(g.b.String())
}

type generator struct {
	intn func(n int) int
	srv  *esmtp.Server
	b    strings.Builder
}

// one is true once in n times.
func (g *generator) one(n int) bool { return g.intn(n) == n-1 }

func (g *generator) pick(list ...string) string { return list[g.intn(len(list))] }

func (g *generator) hello() string {
	if g.srv.LMTP {
		return g.pick("LHLO c.example", "LHLO [192.0.2.1]")
	}
	return g.pick("EHLO c.example", "EHLO c.example", "EHLO [192.0.2.1]", "HELO c.example")
}

// add adds a command, now and then in odd case, misspelt or with an odd end.
func (g *generator) add(line string) {
	if g.one(10) {
		line = strings.ToLower(line)
	}
	if g.one(60) {
		i := g.intn(len(line) + 1)
		line = line[:i] + g.pick("\x00", "\r", "\t", "\x7f", " ", "é", "\xff", "x", "<", "=") + line[i:]
	}
	if g.one(20) {
		line += g.pick(" ", "  ", " x", "\t")
	}
	g.b.WriteString(line)
	if g.one(40) {
		g.b.WriteString("\n")
		return
	}
	g.b.WriteString("\r\n")
}

// stray is a command that belongs nowhere.
func (g *generator) stray() {
	if g.srv.AllowInsecureAuth && g.one(4) {
		g.login()
		return
	}
	switch g.intn(12) {
	case 0:
		g.add(g.pick("RSET", "RSET x", "NOOP", "NOOP x y", "QUIT x"))
	case 1:
		g.add(g.pick("VRFY a", "VRFY", "EXPN list", "VRFY é SMTPUTF8", "VRFY é", "VRFY x SMTPUTF8", "EXPN SMTPUTF8"))
	case 2:
		g.add(g.pick("HELP", "HELP RCPT", "XYZZY", "GET / HTTP/1.1", "STARTTLS", "STARTTLS x", "AUTH PLAIN", "AUTH", "LHLO a",
			"ETRN", "ETRN c.example", "ETRN @c.example", "ETRN c", "ETRN #q", "XCLIENT ADDR=192.0.2.9", "XFORWARD NAME=x", "", " ", "MAİL FROM:<>"))
	case 3:
		g.add(g.pick("EHLO c.example", "EHLO", "HELO x y", "EHLO -", "HELO c_d", "EHLO [IPv6:::1]", "LHLO", "LHLO c.example"))
	case 4:
		g.add(g.pick("NOOP ", "XX ", "MAIL FROM:<a@b.c> ", "EHLO ") + strings.Repeat("x", 400+g.intn(300)))
	case 5:
		g.b.WriteString(strings.Repeat("y", g.intn(7000)))
		g.add("")
	case 6:
		g.add(g.pick("BDAT", "BDAT x", "BDAT -1", "BDAT 1 2", "BDAT 5 LAST x", "BDAT 99999999999999999999", "BDAT 9223372036854775807", "BDAT 1000000000"))
	case 7:
		g.add("DATA")
	case 8:
		g.bdat(g.body(), true)
	case 9:
		g.add(g.mail())
	case 10:
		g.add(g.rcpt())
	default:
		g.add("QUIT")
	}
}

// login is an AUTH command with what follows it; ann's password is "secret".
func (g *generator) login() {
	switch g.intn(10) {
	case 0:
		g.add(g.pick("AUTH LOGIN", "AUTH PLAIN", "AUTH X-OWN", "AUTH X-NONE", "AUTH", "AUTH PLAIN =", "AUTH PLAIN x", "AUTH XOAUTH2"))
	case 1:
		g.add("AUTH LOGIN")
		g.add("YW5u")
		g.add(g.pick("*", "c2VjcmV0", "", "!", "c2Vj=="))
	case 2:
		g.add("AUTH PLAIN " + strings.Repeat("AAAA", 3060+g.intn(20)))
	case 3:
		g.add("AUTH PLAIN")
		g.add(strings.Repeat("AAAA", 3060+g.intn(20)) + "AA"[:g.intn(3)])
	case 4:
		g.add("AUTH ANONYMOUS dHJhY2U=")
	case 5:
		g.add("AUTH PLAIN")
		g.add(g.pick("*", "Ym9iAGFubgBzZWNyZXQ=", "AAFhAGI=", "YQ==", "", "AAA="))
	default:
		g.add("AUTH PLAIN AGFubgBzZWNyZXQ=")
	}
}

func (g *generator) mail() string {
	from := g.pick("<>", "<a@b.example>", "<A.b@C.example>", `<"a b"@c.example>`, "<@x,@y:a@b.example>", "a@b.example",
		"<ä@b.example>", "<a@ä.example>", "<a@[192.0.2.1]>", "<a@b", "<a..b@c>", "<@>", "<a>", " <a@b.c>", "<a@b.c>x")
	if g.one(2) {
		from = "<a@b.example>"
	}
	line := "MAIL FROM:" + from
	if g.one(6) {
		line += " PRDR"
	}
	for g.one(3) {
		line += " " + g.pick("SIZE=100", "SIZE=99999999999", "SIZE=x", "SIZE", "BODY=8BITMIME", "BODY=7bit", "BODY=BINARYMIME",
			"BODY=9", "SMTPUTF8", "SMTPUTF8=1", "RET=FULL", "ENVID=a+2Bb", "ENVID=+0A", "X=1", "PIPELINING", "XOORG=a", "=", " ", "NOTIFY=NEVER", "AUTH=<>", "AUTH=a+x",
			"XOORG=é", "XOORG=a\u2003SMTPUTF8")
	}
	if g.one(3) {
		line += " " + g.pick("REQUIRETLS", "BY=120;R", "BY=9;RT", "BY=-5;N", "BY=0;R", "HOLDFOR=60", "HOLDFOR=100", "HOLDFOR=60 BY=50;R",
			"HOLDFOR=60 HOLDUNTIL=2030-01-01T00:00:00Z", "HOLDUNTIL=2031-01-01T00:00:00Z", "HOLDUNTIL=2099-01-01T00:00:00Z BY=1;N",
			"MT-PRIORITY=-9", "MT-PRIORITY=10", "SOLICIT=a,b:c", "SOLICIT=1", "SOLICIT="+strings.Repeat("s", 900), "XLAX=1", "PRDR", "AUTH=<>")
	}
	return line
}

func (g *generator) rcpt() string {
	to := g.pick("<>", "<postmaster>", "<a@b.example>", `<"a b"@c.example>`, "<@x:a@b.example>", "a@b.example", "<ä@b.example>",
		"<a>", "<a@b@c>", "<a@-b>", "<a@\u00ad>", "<a@b.example> x", "<a@[IPv6:::1]>", `<"\`+"\x01"+`"@b>`)
	if !g.one(4) {
		to = "<u" + strconv.Itoa(g.intn(100)) + "@d.example>"
	}
	line := "RCPT TO:" + to
	for g.one(4) {
		line += " " + g.pick("NOTIFY=NEVER", "NOTIFY=success,DELAY", "NOTIFY=", "ORCPT=rfc822;a+40b", "ORCPT=utf-8;é", "SIZE=1", "XOORG=1", "ORCPT=;x",
			"RRVS=2020-01-01T00:00:00Z", "RRVS=2020-01-01T00:00:00Z;C", "RRVS=x", "XLAX")
	}
	return line
}

func (g *generator) transaction() {
	g.add(g.mail())
	for range g.intn(4) {
		g.add(g.rcpt())
	}
	switch g.intn(6) {
	case 0:
		body := g.body()
		for g.one(2) {
			n := g.intn(len(body) + 1)
			g.bdat(body[:n], false)
			body = body[n:]
			if g.one(8) {
				g.stray()
			}
		}
		g.bdat(body, !g.one(6))
	case 1:
		g.bdat(g.body(), true)
	case 2:
		g.add("RSET")
	default:
		g.add("DATA")
		g.b.WriteString(g.body())
		if !g.one(6) {
			g.b.WriteString("\r\n")
		}
		if !g.one(30) {
			g.b.WriteString(".\r\n")
		}
	}
}

func (g *generator) bdat(chunk string, last bool) {
	n := len(chunk)
	if g.one(20) {
		n += g.intn(20) - 10
	}
	line := fmt.Sprintf("BDAT %d", max(n, 0))
	if last {
		line += " LAST"
	}
	g.add(line)
	g.b.WriteString(chunk)
}

// body is a message, more or less.
func (g *generator) body() string {
	var b strings.Builder
	for range g.intn(5) {
		b.WriteString(g.pick("Subject: hi\r\n", "X: a\r\n b\r\n\tc\r\n", "X : y\r\n", "bad line\r\n", ": x\r\n", "From: x\ny\r\n", "A:", "A:\r\n", "X: \r", " f\r\n"))
	}
	if !g.one(6) {
		b.WriteString("\r\n")
	}
	for range g.intn(8) {
		b.WriteString(g.pick("text\r\n", "..dot\r\n", ".dot\r\n", "no end", "\r\n", "\n", "\r", "MAIL FROM:<evil@x>\r\n", "QUIT\r\n",
			"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r", "\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n. \r\n", "\x80\xff\r\n"))
	}
	if g.one(12) {
		b.WriteString(strings.Repeat(g.pick("x", "0123456789abcde\r\n", "\n", "\r\n"), g.intn(600)))
	}
	return strings.ReplaceAll(b.String(), "\r\n.\r\n", "\r\n..\r\n")
}

// Seeds returns dialogues for a fuzzing corpus: what a client sends in sessions that are right, and in some that are wrong.
func Seeds() []string {
	const begin = "EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<u@d.example>\r\n"
	const message = "From: a\r\nSubject: b\r\n c\r\n\r\ntext\r\n..dot\r\n"
	return []string{
		begin + "DATA\r\n" + message + ".\r\nQUIT\r\n",
		"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n.\r\nNOOP\r\nQUIT\r\n",
		begin + "BDAT 6\r\nA: b\r\nBDAT 0\r\nBDAT 7 LAST\r\n\r\ntext\nRSET\r\nQUIT\r\n",
		begin + "DATA\r\nevil\n.\nMAIL FROM:<x@y>\r\n\r\n.\r\nVRFY a\r\nEXPN b\r\nHELP\r\nXYZZY\r\nQUIT\r\n",
		"EHLO [192.0.2.1]\r\nMAIL FROM:<ä@b> SMTPUTF8 SIZE=100 BODY=BINARYMIME RET=HDRS ENVID=x+2B\r\nRCPT TO:<\"a b\"@c> NOTIFY=DELAY ORCPT=rfc822;a\r\nBDAT 3 LAST\r\n\ra\nQUIT\r\n",
		"LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nQUIT\r\n",
		"EHLO c\r\nAUTH PLAIN\r\n*\r\nMAIL FROM:<a@b.example> PRDR AUTH=<>\r\nRSET\r\nSTARTTLS\r\n",
		begin + "DATA\r\n\r\n" + strings.Repeat("0123456789\r\n", 100) + ".\r\nBDAT x\r\n",
	}
}
