package caddymodule

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/caddy-esmtp/esmtp"
)

// How many clients GET /esmtp/limits shows.
const (
	someClients = 10
	mostClients = 1000
)

// limitsView is the limits of a server, and how much of them is used.
type limitsView struct {
	Server   string            `json:"server"`
	Draining bool              `json:"draining"`
	Sessions usageView         `json:"sessions"`
	Clients  []clientView      `json:"clients"`
	Limits   map[string]any    `json:"limits"`
	Timeouts map[string]any    `json:"timeouts"`
	Rates    map[string]any    `json:"rates"`
	Hits     map[string]uint64 `json:"hits"`
}

// clientView is what a client uses: an address or a network.
type clientView struct {
	Client   string               `json:"client"`
	Sessions usageView            `json:"sessions"`
	Rates    map[string]usageView `json:"rates,omitempty"`
}

// usageView is how much of a limit is used.
type usageView struct {
	Used  int `json:"used"`
	Limit any `json:"limit"`
}

// showLimits is GET /esmtp/limits.
func showLimits(w http.ResponseWriter, _ *http.Request, query url.Values) error {
	clients, err := number(query, "clients", someClients, 0, mostClients)
	if err != nil {
		return err
	}
	views := []limitsView{}
	for _, srv := range liveServers() {
		if !query.Has("server") || query.Get("server") == srv.name {
			views = append(views, srv.usage(clients))
		}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"servers": views})
}

func (srv liveServer) usage(clients int) limitsView {
	limits, timeouts, rates := srv.engine.InForce()
	usage := srv.engine.Usage(clients)
	view := limitsView{
		Server: srv.name, Draining: srv.draining, Sessions: usageView{usage.Sessions, inForce(limits.Connections)}, Clients: []clientView{},
		Limits: limitsInForce(limits), Timeouts: timeoutsInForce(timeouts), Rates: ratesInForce(rates), Hits: tallyOf(srv.name).limits.view(),
	}
	for _, c := range usage.Clients {
		view.Clients = append(view.Clients, newClientView(c, limits, rates))
	}
	return view
}

func newClientView(c esmtp.ClientUsage, limits esmtp.Limits, rates esmtp.Rates) clientView {
	view := clientView{
		Client:   c.Client.String(),
		Sessions: usageView{c.Sessions, inForce(limits.ConnectionsPerAddress)},
		Rates:    make(map[string]usageView),
	}
	if c.Client.IsSingleIP() {
		view.Client = c.Client.Addr().String()
	}
	for _, rate := range []struct {
		name        string
		used, limit int
	}{
		{"connections", c.Connections, rates.Connections},
		{"messages", c.Messages, rates.Messages},
		{"recipients", c.Recipients, rates.Recipients},
		{"auth_failures", c.AuthFailures, rates.AuthFailures},
		{"handshakes", c.Handshakes, rates.Handshakes},
	} {
		if rate.limit > 0 {
			view.Rates[rate.name] = usageView{rate.used, rate.limit}
		}
	}
	return view
}

// number reads a query parameter from least to most.
func number(query url.Values, name string, value, least, most int) (int, error) {
	if !query.Has(name) {
		return value, nil
	}
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < least || n > most {
		return 0, apiError(http.StatusBadRequest, "esmtp: %s is a number from %d to %d, not %q", name, least, most, query.Get(name))
	}
	return n, nil
}
