// Package caddymodule brings package esmtp into Caddy: the app esmtp, its Caddyfile, and the modules of esmtp.handlers and
// esmtp.auth.
//
// The one idea to hold: an [App] has [Server]s, and a server has a stack of [Layer] modules. A module says how to make the layer of a
// connection, and is itself shared by all of them. [Register] makes one of any struct that embeds esmtp.Default or esmtp.Handler.
//
// An open session keeps the config that it began with, and that config's modules, until it ends, even when Caddy got a new one
// long ago: see generation.go.
//
// # Reading on
//
// app.go is the app and its life in Caddy, server.go and limits.go what a server can be told, listen.go its addresses, listeners.go what is wrapped around
// its sockets, tls.go its certificates, and auth.go who may log in. caddyfile.go reads the global option, settings.go the settings of a server, and
// suggest.go finds out what was meant. register.go and fields.go are Register; maildir.go, recipients.go, respond.go, senders.go and log.go are the modules of
// esmtp.handlers that come with it, authusers.go and authremote.go those of esmtp.auth. command*.go is the command "caddy esmtp", and admin*.go what it asks: the admin API.
package caddymodule
