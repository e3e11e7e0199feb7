package main

import (
	"context"
	"net"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// peer is a server to measure.
type peer struct {
	name  string
	about func() string // version, and how it is set up

	// serve is a server in Go. It runs in a child process that is this program again.
	serve func(l net.Listener, w *work, at place) error

	// command is a foreign server.
	command func(ctx context.Context, at place) (*exec.Cmd, error)

	// missing tells why a server can't be measured here, such as that it isn't installed. Nil: it always can.
	missing func() error

	keepAlive time.Duration // of its listener, as its own ListenAndServe has it: 0 is Go's default, negative off

	only    []string // the work that it can do; none: all
	durable bool     // it keeps mail on disk, and is measured in that; the others aren't
	family  bool     // it is a process with children
	tls     bool     // it does work in TLS too
	maxIdle int      // 0: as many as asked for
}

// place is where a server is to be, and what will come.
type place struct {
	addr     string
	sessions int    // at a time
	dir      string // an empty folder, if the work is durable
	sink     string // address of the server that mail goes on to; "": it stays
}

// The peers that all others are compared with: where nothing is kept, and where mail is on disk before 250.
const (
	baseline        = "go-smtp"
	durableBaseline = "postfix"
)

var peers = []*peer{
	{name: baseline, about: aboutGoSMTP, serve: serveGoSMTP, tls: true},
	{name: "smtp-sink", about: aboutSMTPSink, command: smtpSink, missing: noSMTPSink, maxIdle: 1000,
		only: []string{"W1", "W2", "W3", "W4", "W5", "WH", "WR", "idle"}}, // it has no BDAT
	{name: "raw", about: aboutRaw, serve: serveRaw, keepAlive: -1},
	{name: "esmtp", about: aboutOurs, serve: serveOurs, keepAlive: -1, tls: true},
	{name: "esmtp+HEADER", about: aboutOursHeader, serve: serveOursHeader, keepAlive: -1, only: []string{"WH"}},
	{name: "esmtp+metrics", about: aboutOursMetrics, serve: serveOursMetrics, keepAlive: -1, tls: true, only: []string{"W1", "W2", "W3", "W6", "WR"}},
	{name: durableBaseline, about: aboutPostfix, command: postfix, missing: noPostfix, durable: true, family: true},
	{name: "queue", about: aboutQueue, serve: serveQueue, keepAlive: -1, durable: true},
}

func (p *peer) can(w *work) bool {
	return p.durable == w.durable && (p.tls || !w.tls) && (len(p.only) == 0 || slices.Contains(p.only, w.name))
}

func findPeer(name string) *peer {
	for _, p := range peers {
		if p.name == name {
			return p
		}
	}
	return nil
}

func peerNames() string {
	var names []string
	for _, p := range peers {
		names = append(names, p.name)
	}
	return strings.Join(names, ",")
}

// smtpSink is Postfix's test server. It refuses to run as root.
func smtpSink(ctx context.Context, at place) (*exec.Cmd, error) {
	path, err := findSMTPSink()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, "-4", "-m", strconv.Itoa(at.sessions+100), "inet:"+at.addr, "1024")
	return cmd, unprivileged(cmd)
}

func findSMTPSink() (string, error) {
	path, err := exec.LookPath("smtp-sink")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/smtp-sink")
	}
	return path, err
}

func noSMTPSink() error {
	_, err := findSMTPSink()
	return err
}

func aboutSMTPSink() string {
	return "Postfix's test server, in C, which keeps nothing (Postfix " + postfixVersion() + ")"
}

func aboutGoSMTP() string {
	return "github.com/emersion/go-smtp " + moduleVersion("github.com/emersion/go-smtp") + ", a backend that drops all"
}

func aboutRaw() string {
	return "reads as many octets as will come and answers what fits, without looking at any: the limit of the machine"
}

func aboutOurs() string {
	return "this module: esmtp.Default, which accepts all and keeps nothing; " + runtime.Version()
}

func aboutOursHeader() string {
	return "the same with a HEADER method, so that each field is brought to the handler as two strings"
}

func aboutOursMetrics() string {
	return "the same with package metrics as its observer"
}

// moduleVersion is the version of a module that this program is built with.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}
