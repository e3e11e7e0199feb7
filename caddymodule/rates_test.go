package caddymodule

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

var serverNames atomic.Int64

// newServerName is that of a server that nothing was counted of in this process.
func newServerName() string { return "new" + strconv.FormatInt(serverNames.Add(1), 10) }

// What a client has done is not forgotten in a reload, and its open sessions count in the new config too.
func TestLimitsOfClientsGoOnOverAReload(t *testing.T) {
	addr, name := freeAddress(t), newServerName()
	config := func(text string) string {
		return "server " + name + " " + addr + " {\nhostname " + text + ".example.org\nlistener_wrappers {\nproxy_protocol {\nallow 127.0.0.0/8\n}\n}\n" +
			"limits {\nconnections_per_address 2\n}\nrates {\nmessages 2\n}\nlog\n}\n"
	}
	const header, mail = "PROXY TCP4 203.0.113.7 192.0.2.25 4711 25\r\n", "C: MAIL FROM:<a@b>\nS: 250 *\nC: RSET\nS: 250 *\n"
	a := loadAdmin(t, config("one"))
	old := dialTCP(t, addr, header)
	old.Run("S: 220 one.*\nC: HELO a\nS: 250 *\n" + mail + mail + strings.Repeat("C: MAIL FROM:<a@b>\nS: 450 4.7.1 *\n", 6)) // enough for any minute to begin now
	a.load(config("two"))
	young := dialTCP(t, addr, header)
	young.Run("S: 220 two.*\nC: HELO a\nS: 250 *\nC: MAIL FROM:<a@b>\nS: 450 4.7.1 *")
	dialTCP(t, addr, header).Run("S: 421 *\nclose")
	var got struct{ Servers []limitsView }
	a.get("GET", "/esmtp/limits?server="+name, &got)
	for _, s := range got.Servers {
		if c := s.Clients; len(c) != 1 || c[0].Client != "203.0.113.7" || c[0].Sessions.Used < 2 || c[0].Rates["messages"].Used < 3 {
			t.Errorf("got %+v", s)
		}
	}
	old.Run(goodbye)
	young.Run(goodbye)
}
