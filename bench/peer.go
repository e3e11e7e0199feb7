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
	serve func(l net.Listener, w *work) error

	// command is a foreign server, and an error if it isn't installed.
	command func(ctx context.Context, addr string, sessions int) (*exec.Cmd, error)

	keepAlive time.Duration // of its listener, as its own ListenAndServe has it: 0 is Go's default, negative off

	only    []string // the work that it can do; none: all
	tls     bool     // it does work in TLS too
	maxIdle int      // 0: as many as asked for
}

// baseline is the peer that all others are compared with.
const baseline = "go-smtp"

var peers = []*peer{
	{name: baseline, about: aboutGoSMTP, serve: serveGoSMTP, tls: true},
	{name: "smtp-sink", about: aboutSMTPSink, command: smtpSink, maxIdle: 1000,
		only: []string{"W1", "W2", "W3", "W4", "W5", "WH", "WR", "idle"}}, // it has no BDAT
	{name: "raw", about: aboutRaw, serve: serveRaw, keepAlive: -1},
	{name: "esmtp", about: aboutOurs, serve: serveOurs, keepAlive: -1, tls: true},
	{name: "esmtp+HEADER", about: aboutOursHeader, serve: serveOursHeader, keepAlive: -1, only: []string{"WH"}},
	{name: "esmtp+metrics", about: aboutOursMetrics, serve: serveOursMetrics, keepAlive: -1, tls: true, only: []string{"W1", "W2", "W3", "W6", "WR"}},
}

func (p *peer) can(w *work) bool {
	return (p.tls || !w.tls) && (len(p.only) == 0 || slices.Contains(p.only, w.name))
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
func smtpSink(ctx context.Context, addr string, sessions int) (*exec.Cmd, error) {
	path, err := exec.LookPath("smtp-sink")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/smtp-sink"); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, path, "-4", "-m", strconv.Itoa(sessions+100), "inet:"+addr, "1024")
	return cmd, unprivileged(cmd)
}

func aboutSMTPSink() string {
	version := "version unknown"
	if out, err := exec.Command("postconf", "-dh", "mail_version").Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	return "Postfix's test server, in C, which keeps nothing (Postfix " + version + ")"
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
