// Package caddymodule brings package esmtp into Caddy: the app esmtp, its Caddyfile, and the modules of esmtp.handlers,
// esmtp.auth and esmtp.matchers.
//
// The one idea to hold: an [App] has [Server]s, and a server has a stack of [Layer] modules. A module says how to make the layer of a
// connection, and is itself shared by all of them. [Register] makes one of any struct that embeds esmtp.Default or esmtp.Handler. A [Route] has settings and
// layers for some of the server's sessions; which, say [Matcher] modules.
//
// An open session keeps the config that it began with, and that config's modules, until it ends, even when Caddy got a new one
// long ago: see generation.go.
//
// # Reading on
//
// app.go is the app and its life in Caddy, server.go, settings.go and limits.go what a server can be told, stack.go its handlers, route.go its routes,
// matcher.go, matchip.go and matchconn.go what says which sessions those are for, listen.go its addresses, listeners.go what is wrapped around
// its sockets, openrelay.go whether strangers can send by it, tls.go its certificates, and auth.go who may log in. caddyfile.go reads the global option, directives.go the settings of a server, handle.go its routes, and
// suggest.go finds out what was meant. register.go and fields.go are Register; maildir.go, recipients.go, respond.go, senders.go and log.go are the modules of
// esmtp.handlers that come with it, authusers.go and authremote.go those of esmtp.auth. observe.go puts together who looks
// on: metrics.go for Prometheus, and events.go for Caddy's app events. queue.go, queuelife.go and queuehandler.go are the queues and the handlers that
// fill them. command*.go is the command "caddy esmtp", and admin*.go what it asks: the admin API.
//
// wrapper.go is the listener wrapper that lets mail clients in at the port of a web server: wrapper_listener.go brings connections to
// wrapper_mux.go, which tells them apart by wrapper_recognize.go, and hands them to web servers and to the mail servers of
// wrapper_server.go.
package caddymodule
