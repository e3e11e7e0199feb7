package caddymodule

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// serverName reads the name of a server block that is headed by "server <name>" and perhaps addresses.
func (p *parser) serverName() (string, error) {
	if !p.NextArg() || strings.ContainsAny(p.Val(), ":./{") {
		return "", p.Err("server takes a name, such as mail, and then addresses, if it has any")
	}
	name := p.Val()
	if _, taken := p.app.Servers[name]; taken {
		return "", p.Errf("server %s is given already", name)
	}
	return name, nil
}

// freeName makes a name for a server that was given none.
func (a *App) freeName() string {
	for i := len(a.Servers); ; i++ {
		name := fmt.Sprintf("srv%d", i)
		if _, taken := a.Servers[name]; !taken {
			return name
		}
	}
}

// wrappedServer returns the server that a listener wrapper means, by its name or by one of its addresses, and has it accept what the wrapper
// hands over.
func (a *App) wrappedServer(name string) (*Server, error) {
	srv := a.Servers[name]
	names := slices.Sorted(maps.Keys(a.Servers))
	switch {
	case srv != nil:
	case len(names) == 0:
		return nil, fmt.Errorf("esmtp: there is no mail server in the option esmtp")
	case name == "" && len(names) > 1:
		return nil, fmt.Errorf("esmtp: there are many mail servers: say which one, with server <name>; there are %s", strings.Join(names, ", "))
	case name == "":
		srv = a.Servers[names[0]]
	default:
		if srv = a.serverAt(name); srv == nil {
			return nil, fmt.Errorf("esmtp: there is no mail server %q%s", name, didYouMean(name, names))
		}
	}
	if srv.wrapped == nil {
		srv.wrapped = newHandover()
	}
	return srv, nil
}

// serverAt returns the server that has an address, nil if none has.
func (a *App) serverAt(text string) *Server {
	want, err := parseAddress(text)
	if err != nil || len(want) != 1 {
		return nil
	}
	for _, srv := range a.Servers {
		if slices.ContainsFunc(srv.addresses, func(addr address) bool { return addressKey(addr) == addressKey(want[0]) }) {
			return srv
		}
	}
	return nil
}

// nextWrapper returns which of a web server's wrappers is the one that is provisioned now, the next of ours: they come in their order.
func (a *App) nextWrapper(web *caddyhttp.Server, names []string) int {
	if a.wrappers == nil {
		a.wrappers = make(map[*caddyhttp.Server]int)
	}
	i := a.wrappers[web]
	i += slices.Index(names[i:], "esmtp")
	a.wrappers[web] = i + 1
	return i
}

// warnUnreachable tells of servers that no client can come to.
func (a *App) warnUnreachable() {
	for name, srv := range a.Servers {
		if len(srv.addresses) == 0 && srv.wrapped == nil {
			a.log.Warn("nobody can come to this server: it has no address, and no listener wrapper names it", "server", name)
		}
	}
}

// handover is a listener without a socket: it accepts the connections that are given to it.
type handover struct {
	conns chan net.Conn // nothing waits in it, and so nothing is lost in it
	ready chan struct{} // closed when somebody accepts
	done  chan struct{} // closed at the end
	begin sync.Once
	end   sync.Once
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), ready: make(chan struct{}), done: make(chan struct{})}
}

// Accept returns the next connection that is given.
func (h *handover) Accept() (net.Conn, error) {
	h.begin.Do(func() { close(h.ready) })
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (h *handover) Close() error {
	h.end.Do(func() { close(h.done) })
	return nil
}

// Addr returns an address that says what this is.
func (h *handover) Addr() net.Addr { return handoverAddr{} }

func (h *handover) isReady() bool  { return isClosed(h.ready) && !h.isClosed() }
func (h *handover) isClosed() bool { return isClosed(h.done) }

// give hands a connection over. It reports false, and leaves the connection alone, if the listener is closed, or when cancel is.
func (h *handover) give(conn net.Conn, cancel <-chan struct{}) bool {
	select {
	case h.conns <- conn:
		return true
	case <-h.done:
		return false
	case <-cancel:
		return false
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// handoverAddr is the address of a handover.
type handoverAddr struct{}

func (handoverAddr) Network() string { return "listener wrapper" }
func (handoverAddr) String() string  { return "listener wrapper" }
