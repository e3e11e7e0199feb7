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
	Server   string       `json:"server"`
	Draining bool         `json:"draining"`
	Sessions usageView    `json:"sessions"`
	Clients  []clientView `json:"clients"`
	boundsView
	Routes []routeBoundsView `json:"routes,omitempty"`
	Hits   map[string]uint64 `json:"hits"`
}

// routeBoundsView is what bounds the sessions of a route.
type routeBoundsView struct {
	Name string `json:"name"`
	boundsView
}

// clientView is what a client uses: an address or a network.
type clientView struct {
	Client   string               `json:"client"`
	Sessions usageView            `json:"sessions"`
	Rates    map[string]usageView `json:"rates,omitempty"`
}

// usageView is how much of a limit is used.
type usageView struct {
	Used   int            `json:"used"`
	Limit  any            `json:"limit"`
	Routes map[string]any `json:"routes,omitempty"` // what it is in those that have another one
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
	usage := srv.engine.Usage(clients)
	view := limitsView{Server: srv.name, Draining: srv.draining, Clients: []clientView{}, boundsView: srv.bounds(), Hits: tallyOf(srv.name).limits.view()}
	view.Sessions = usageView{Used: usage.Sessions, Limit: view.Limits["connections"]}
	for i, r := range srv.Routes {
		view.Routes = append(view.Routes, routeBoundsView{r.label(i), r.server.bounds()})
	}
	for _, c := range usage.Clients {
		view.Clients = append(view.Clients, view.client(c))
	}
	return view
}

// client shows what a client uses, as far as the server or a route limits it.
func (v *limitsView) client(c esmtp.ClientUsage) clientView {
	view := clientView{
		Client:   c.Client.String(),
		Sessions: usageView{Used: c.Sessions, Limit: v.Limits["connections_per_address"]},
		Rates:    make(map[string]usageView),
	}
	if c.Client.IsSingleIP() {
		view.Client = c.Client.Addr().String()
	}
	for name, used := range map[string]int{"connections": c.Connections, "messages": c.Messages, "recipients": c.Recipients,
		"auth_failures": c.AuthFailures, "handshakes": c.Handshakes} {
		if rate, limited := v.rate(name, used); limited {
			view.Rates[name] = rate
		}
	}
	return view
}

// rate shows how much of a rate is used, by sessions of all routes together, and reports whether there is a limit to it anywhere.
func (v *limitsView) rate(name string, used int) (view usageView, limited bool) {
	view = usageView{Used: used, Limit: v.Rates[name]}
	limited = view.Limit != nil
	for _, r := range v.Routes {
		if limit, own := r.Rates[name]; own && limit != v.Rates[name] {
			if view.Routes == nil {
				view.Routes = make(map[string]any)
			}
			view.Routes[r.Name] = limit
			limited = limited || limit != nil
		}
	}
	return view, limited
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
