package recipients_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
	"github.com/caddy-esmtp/esmtp/handler/recipients"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ok      = "250 2.1.5 *"
	relay   = "550 5.7.1 We do not relay"
	unknown = "550 5.1.1 No such user here"
)

func TestOnlyWhatIsOursIsAccepted(t *testing.T) {
	list, err := recipients.New("*@example.org", "Info@Example.net", "sales@example.net", "*.wide.example", "exämple.com", "user@[192.0.2.1]")
	if err != nil {
		t.Fatal(err)
	}
	srv := &esmtp.Server{Hostname: "mx.example.org", NewHandler: esmtp.Stack(list.NewLayer), Limits: esmtp.Limits{Errors: -1}}
	c := esmtptest.Dial(t, srv)
	c.Expect("220 *")
	c.Cmd("EHLO client.example", "250 *")
	c.Cmd("MAIL FROM:<> SMTPUTF8", "250 *")
	for _, test := range []struct{ rcpt, want string }{
		{"anybody@example.org", ok},
		{"anybody@EXAMPLE.ORG", ok},
		{"anybody@sub.example.org", relay},
		{"anybody@notexample.org", relay},
		{"anybody@example.org.evil.example", relay},
		{"info@example.net", ok},
		{"INFO@EXAMPLE.NET", ok},
		{`"info"@example.net`, ok},
		{"sales@example.net", ok},
		{"nobody@example.net", unknown},
		{"info+tag@example.net", unknown},
		{"a@b.wide.example", ok},
		{"a@c.b.wide.example", ok},
		{"a@wide.example", relay},
		{"a@narrowwide.example", relay},
		{"a@exämple.com", ok},
		{"a@xn--exmple-cua.com", ok},
		{"user@[192.0.2.1]", ok},
		{"other@[192.0.2.1]", unknown},
		{"user@[192.0.2.2]", relay},
		// RFC 5321 §4.5.1: postmaster in any case, without a domain and in each that is ours
		{"postmaster", ok},
		{"PostMaster", ok},
		{"postmaster@example.org", ok},
		{"Postmaster@example.net", ok},
		{"postmaster@[192.0.2.1]", ok},
		{"postmaster@mx.example.org", ok},
		{"postmaster@elsewhere.example", relay},
		// no trick relays
		{"user%elsewhere.example@example.net", unknown},
		{"user%example.org@elsewhere.example", relay},
		{"elsewhere.example!user@example.net", unknown},
		{`"user@elsewhere.example"@example.net`, unknown},
		{`"user@example.org"@elsewhere.example`, relay},
		{"@example.org:user@elsewhere.example", relay},
		{"@elsewhere.example:info@example.net", ok},
		{"user@elsewhere.example@example.org", "501 *"},
	} {
		c.Cmd("RCPT TO:<"+test.rcpt+">", test.want)
	}
}

func TestPatternsAreChecked(t *testing.T) {
	for _, test := range []struct {
		patterns []string
		want     string
	}{
		{nil, "recipients: no addresses"},
		{[]string{"example.org", "*@*"}, `recipients: address pattern "*@*": domain`},
		{[]string{"<>"}, "recipients: the null path"},
	} {
		if _, err := recipients.New(test.patterns...); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%q: got %v, want %s", test.patterns, err, test.want)
		}
	}
}
