package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// run is a comparison: what to measure, and what was.
type run struct {
	options
	log     io.Writer
	works   []*work
	peers   []*peer
	left    []string // what was left out, and why
	server  int      // core
	load    int      // core
	samples map[cell][]sample
}

// cell is a place in the table.
type cell struct {
	work *work
	peer *peer
}

// sample is one measurement.
type sample struct {
	messages float64
	octets   float64
	wall     time.Duration
	cpu      time.Duration // of the server
	loadCPU  time.Duration // of the load generator
	idleKiB  float64       // per session, for idle work
	memory   int64         // KiB of the server behind the work
}

// newRun finds what the options name, and takes its place on the second core.
func newRun(o options, log io.Writer) (*run, error) {
	r := &run{options: o, log: log, samples: map[cell][]sample{}}
	for _, name := range o.works {
		if findWork(name) == nil {
			return nil, fmt.Errorf("bench: no work is named %q: there are %s", name, workNames())
		}
	}
	for _, name := range o.peers {
		if findPeer(name) == nil {
			return nil, fmt.Errorf("bench: no server is named %q: there are %s", name, peerNames())
		}
	}
	for _, w := range allWorks {
		if len(o.works) == 0 || slices.ContainsFunc(o.works, w.named) {
			r.works = append(r.works, w)
		}
	}
	for _, p := range peers {
		if len(o.peers) == 0 || slices.Contains(o.peers, p.name) {
			r.addPeer(p)
		}
	}
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
	}
	var err error
	if r.server, r.load, err = cores(); err != nil {
		return nil, err
	}
	if r.server == r.load {
		r.left = append(r.left, "There is one core only: server and load share it, so rates mean little.")
	}
	if err := allowFiles(); err != nil {
		return nil, err
	}
	if err := adopt(); err != nil {
		return nil, err
	}
	return r, pinSelf(r.load)
}

// addPeer adds a server that has anything to do, unless it isn't installed.
func (r *run) addPeer(p *peer) {
	if !slices.ContainsFunc(r.works, p.can) {
		return
	}
	if p.missing != nil {
		if err := p.missing(); err != nil {
			r.left = append(r.left, fmt.Sprintf("%s is left out: %v", p.name, err))
			return
		}
	}
	r.peers = append(r.peers, p)
}

// all measures everything. The servers take turns at each work, so that what else the machine does hits all alike.
func (r *run) all(ctx context.Context) error {
	for round := range r.rounds {
		for _, w := range r.works {
			fmt.Fprintf(r.log, "round %d/%d %s:", round+1, r.rounds, w.name)
			for _, p := range r.peers {
				if !p.can(w) {
					continue
				}
				s, err := r.measure(ctx, p, w)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, p.name, err)
				}
				c := cell{w, p}
				r.samples[c] = append(r.samples[c], s)
				fmt.Fprintf(r.log, " %s %s", strings.ReplaceAll(p.name, " ", "-"), s.brief(w))
			}
			fmt.Fprintln(r.log)
		}
	}
	return nil
}

// brief is a sample in the log.
func (s sample) brief(w *work) string {
	if w.idle() {
		return fmt.Sprintf("%.1f", s.idleKiB)
	}
	if w.durable {
		return fmt.Sprintf("%.0f/s %.0f", s.perSecond(), s.perThousand())
	}
	return fmt.Sprintf("%.2f", s.perThousand())
}

// perThousand is the server's CPU time in milliseconds per thousand messages.
func (s sample) perThousand() float64 { return s.cpu.Seconds() * 1e6 / s.messages }

// perSecond is the rate.
func (s sample) perSecond() float64 { return s.messages / s.wall.Seconds() }

func (r *run) measure(ctx context.Context, p *peer, w *work) (sample, error) {
	var to *sink // mail goes on to it
	if w.relayed {
		var err error
		if to, err = newSink(); err != nil {
			return sample{}, err
		}
		defer to.close()
	}
	s, err := startServer(ctx, p, w, to.address(), r.server, &r.options)
	if err != nil {
		return sample{}, err
	}
	defer s.stop()
	if w.idle() {
		n := r.idle
		if p.maxIdle > 0 {
			n = min(n, p.maxIdle)
		}
		return weigh(ctx, s, w, n, r.settle)
	}
	l := newLoad(s.addr, w, r.sessions)
	l.sink = to
	warmup, window := r.warmup, r.window
	if w.durable { // processes that start as they are needed, files that grow: it takes longer until all is as it goes on
		warmup, window = durableTimes*warmup, durableTimes*window
	}
	if warmup > 0 {
		if _, _, err := l.run(ctx, warmup); err != nil {
			return sample{}, err
		}
	}
	return timed(ctx, s, l, window)
}

// timed lets the server work for a while and reads the clocks before and after.
func timed(ctx context.Context, s *process, l *load, d time.Duration) (sample, error) {
	begin := time.Now()
	cpu, err := s.cpu()
	if err != nil {
		return sample{}, err
	}
	own, err := cpuTime(0)
	if err != nil {
		return sample{}, err
	}
	messages, octets, err := l.run(ctx, d)
	if err != nil {
		return sample{}, err
	}
	result := sample{messages: float64(messages), octets: float64(octets), wall: time.Since(begin)}
	if result.cpu, err = s.cpu(); err != nil {
		return sample{}, err
	}
	result.cpu -= cpu
	if result.loadCPU, err = cpuTime(0); err != nil {
		return sample{}, err
	}
	result.loadCPU -= own
	result.memory, err = s.memory()
	return result, err
}

// perAddress is how many sessions come from one loopback address: each has ports for some more.
const perAddress = 20_000

// pace is how long it takes a hundred sessions to come, when they are to stay idle: even a busy server doesn't get all at once.
const pace = 100 * time.Millisecond

// weigh opens n sessions, says in each what the work says, leaves them alone for a while, and looks by how much the server grew.
func weigh(ctx context.Context, s *process, w *work, n int, settle time.Duration) (sample, error) {
	clients := make([]*client, 0, n+1)
	defer func() {
		for _, c := range clients {
			c.conn.Close()
		}
	}()
	var before int64
	script := w.script()
	for i := range n + 1 {
		if ctx.Err() != nil {
			return sample{}, ctx.Err()
		}
		c, err := dial(s.addr, &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/perAddress))})
		if err != nil {
			return sample{}, err
		}
		clients = append(clients, c)
		if err := greet(c, script); err != nil {
			return sample{}, err
		}
		if i == 0 { // the first one pays for what all share
			if before, err = s.memory(); err != nil {
				return sample{}, err
			}
		}
		if i%100 == 99 {
			wait(ctx, pace)
		}
	}
	wait(ctx, settle)
	after, err := s.memory()
	return sample{idleKiB: float64(after-before) / float64(n)}, err
}

// wait waits, unless ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// greet holds the conversation of a session that then stays idle.
func greet(c *client, script []step) error {
	for i := range script {
		if err := c.take(&script[i], replies(script[i].answer)); err != nil {
			return err
		}
	}
	return nil
}
