package auth_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/caddy-esmtp/esmtp/handler/auth"
)

const dovecotHello = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nMECH\tSCRAM-SHA-256\nMECH\tSCRAM-SHA-256-PLUS\n" +
	"MECH\tEXTERNAL\nMECH\tDOVECOT-TOKEN\tprivate\nSPID\t1\nCUID\t2\nCOOKIE\tabc\nDONE\n"

// dovecot starts a server that says hello, and leaves the rest to serve, which gets the parameters of each AUTH.
func dovecot(t *testing.T, hello string, serve func(conn net.Conn, r *bufio.Reader, auth []string)) *auth.Dovecot {
	t.Helper()
	dir, err := os.MkdirTemp("", "esmtp") // the name of a socket can't be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				fmt.Fprint(conn, hello)
				r := bufio.NewReader(conn)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
					if fields[0] == "AUTH" {
						serve(conn, r, fields[1:])
					}
				}
			})
		}
	})
	return &auth.Dovecot{Socket: l.Addr().String(), Timeout: 10 * time.Second}
}

// passwords is a dovecot that knows the password of ann, and no mechanism but PLAIN.
func passwords(conn net.Conn, r *bufio.Reader, params []string) {
	response, ok := strings.CutPrefix(params[len(params)-1], "resp=")
	if !ok {
		fmt.Fprintf(conn, "CONT\t%s\t\n", params[0])
		line, _ := r.ReadString('\n')
		response = strings.TrimPrefix(strings.TrimSpace(line), "CONT\t"+params[0]+"\t")
	}
	text, _ := base64.StdEncoding.DecodeString(response)
	switch string(text) {
	case "\x00ann\x00secret":
		fmt.Fprintf(conn, "OK\t%s\tuser=ann\tnologin\n", params[0])
	case "\x00ann\x00later":
		fmt.Fprintf(conn, "FAIL\t%s\tuser=ann\ttemp\treason=secret of the administrator\n", params[0])
	default:
		fmt.Fprintf(conn, "NOTFORUS\t%s\nFAIL\t999\nFAIL\t%s\tuser=ann\n", params[0], params[0])
	}
}

func TestDovecotIsAsked(t *testing.T) {
	asked := make(chan []string, 9)
	d := dovecot(t, dovecotHello, func(conn net.Conn, r *bufio.Reader, params []string) {
		asked <- params
		passwords(conn, r, params)
	})
	srv, log := serve(t, d.NewLayer)
	for password, want := range map[string]string{"secret": "235 2.7.0 *", "wrong": "535 5.7.8 *", "later": "454 4.7.0 *"} {
		c, offers := dial(t, srv)
		if offers != "PLAIN LOGIN SCRAM-SHA-256" {
			t.Errorf("offered are %s", offers)
		}
		c.Cmd("AUTH PLAIN", "334 ")
		c.Cmd(b64("\x00ann\x00"+password), want)
		got := strings.Join(<-asked, " ")
		if got != "1 PLAIN service=smtp nologin lip=192.0.2.25 lport=25 rip=192.0.2.1 rport=49152" {
			t.Errorf("dovecot was asked %s", got)
		}
	}
	c, _ := dial(t, srv)
	c.Cmd(plain("ann", "secret"), "235 2.7.0 *")
	if got := <-asked; got[len(got)-1] != "resp="+b64("\x00ann\x00secret") {
		t.Errorf("dovecot was asked %q", got)
	}
	c, _ = dial(t, srv)
	c.Cmd("AUTH PLAIN", "334 ")
	c.Cmd("*", "501 *")
	if strings.Contains(log.String(), "secret") {
		t.Errorf("got %s", log)
	}
}

// What Dovecot says with its OK is a challenge in SMTP, and the signature of SCRAM is.
func TestDovecotsLastWord(t *testing.T) {
	d := dovecot(t, dovecotHello, func(conn net.Conn, r *bufio.Reader, params []string) {
		server, _ := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) {
			client, _ := scram.SHA256.NewClient("ann", "secret", "")
			return client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salty", Iters: 4096})
		})
		conv := server.NewConversation()
		response := strings.TrimPrefix(params[len(params)-1], "resp=")
		for {
			text, _ := base64.StdEncoding.DecodeString(response)
			challenge, err := conv.Step(string(text))
			switch {
			case err != nil:
				fmt.Fprint(conn, "FAIL\t1\tuser=ann\n")
				return
			case conv.Done():
				fmt.Fprintf(conn, "OK\t1\tuser=ann\tresp=%s\n", b64(challenge))
				return
			}
			fmt.Fprintf(conn, "CONT\t1\t%s\n", b64(challenge))
			line, _ := r.ReadString('\n')
			response = strings.TrimPrefix(strings.TrimSpace(line), "CONT\t1\t")
		}
	})
	srv, _ := serve(t, d.NewLayer)
	for password, want := range map[string]string{"secret": "235 *", "wrong": "535 *"} {
		c, _ := dial(t, srv)
		scramLogin(t, c, "SCRAM-SHA-256", "ann", password, want)
	}
}

func TestADovecotThatIsOutOfStepIsTemporary(t *testing.T) {
	say := func(text string) func(net.Conn, *bufio.Reader, []string) {
		return func(conn net.Conn, _ *bufio.Reader, _ []string) { fmt.Fprint(conn, text); conn.Close() }
	}
	for name, d := range map[string]*auth.Dovecot{
		"gone":            {Socket: filepath.Join(t.TempDir(), "none")},
		"other version":   dovecot(t, "VERSION\t2\t0\nDONE\n", say("OK\t1\tuser=ann\n")),
		"no version":      dovecot(t, "DONE\n", say("OK\t1\tuser=ann\n")),
		"no end of hello": dovecot(t, strings.Repeat("SPID\t1\n", 1000), say("OK\t1\tuser=ann\n")),
		"endless line":    dovecot(t, dovecotHello, say("OK\t1\tuser="+strings.Repeat("a", 1<<20))),
		"no user":         dovecot(t, dovecotHello, say("OK\t1\n")),
		"no base64":       dovecot(t, dovecotHello, say("CONT\t1\t!\n")),
		"others' answers": dovecot(t, dovecotHello, say(strings.Repeat("OK\t2\tuser=ann\n", 1000))),
		"hangs up":        dovecot(t, dovecotHello, say("")),
	} {
		t.Run(name, func(t *testing.T) {
			srv, _ := serve(t, d.NewLayer)
			c, offers := dial(t, srv)
			if !strings.HasPrefix(offers, "PLAIN LOGIN") {
				t.Errorf("offered are %s", offers)
			}
			c.Cmd(plain("ann", "secret"), "454 4.7.0 *")
		})
	}
}
