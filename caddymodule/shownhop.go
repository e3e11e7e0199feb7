package caddymodule

import (
	"net/url"
	"strings"
)

// webHop returns a next hop as a URL, if it is a program on the web. One that can't be read is a URL with nothing in it.
func webHop(hop string) (u *url.URL, ok bool) {
	scheme, _, _ := strings.Cut(hop, "://")
	if scheme = strings.ToLower(scheme); scheme != "http" && scheme != "https" {
		return nil, false
	}
	u, err := url.Parse(hop)
	if err != nil {
		u = &url.URL{Scheme: scheme, Host: "…"}
	}
	return u, true
}

// shownHop is a next hop, or a route, as anybody may see it. A URL's query can be a secret, and its user has a password.
func shownHop(hop string) string {
	if u, ok := webHop(hop); ok {
		return u.Scheme + "://" + u.Host + u.EscapedPath()
	}
	return hop
}

func shownHops(hops []string) []string {
	if hops == nil {
		return nil
	}
	shown := make([]string, len(hops))
	for i, hop := range hops {
		shown[i] = shownHop(hop)
	}
	return shown
}

// redactHop hides the user of a next hop, and of a URL all but where it leads: a path can be a secret too.
func redactHop(hop string) string {
	if u, ok := webHop(hop); ok {
		return u.Scheme + "://" + u.Host
	}
	if strings.Contains(hop, "@") {
		return redact(hop)
	}
	return hop
}
