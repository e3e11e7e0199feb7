// Command bench measures this module against other SMTP servers: every server is given the same work by the same load
// generator, in turn, several times over, and the table shows how much CPU each took.
//
//	go run .                                      # everything, some minutes
//	go run . -rounds 3 -work W1,W3 -peers esmtp,go-smtp
//	go run . -work 'Q*'                           # what keeps mail on disk
//	go run . -short                               # seconds: does it run at all?
//
// The one idea to hold: every server, ours too, is a process of its own (this program again, as "bench serve NAME", or a foreign
// program), alone on the first core, and the load comes from this process, alone on the second. What a server cost is what the
// kernel says that its process used, system calls included. README.md tells how to read the table.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options is what the flags say.
type options struct {
	rounds   int
	window   time.Duration // how long a server gets work, in a round
	warmup   time.Duration // and before that, unmeasured
	sessions int           // at most so many at a time; 0: as many as the work asks for
	idle     int           // sessions held open to weigh one
	settle   time.Duration // how long they are left alone before: some servers make themselves smaller then
	peers    []string      // names; none: all
	works    []string
	profile  string // folder for CPU profiles of the Go servers
	dir      string // where queues are
}

// maxMessages bounds the work of one measurement, however fast the server is.
const maxMessages = 1_000_000

func main() {
	err := errUsage
	if len(os.Args) > 2 && os.Args[1] == "serve" {
		err = serve(os.Args[2:])
	} else if o, ok := parseFlags(); ok {
		err = bench(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var errUsage = errors.New("bench: see -help")

func parseFlags() (options, bool) {
	o := options{warmup: 200 * time.Millisecond, settle: 3 * time.Second}
	flag.IntVar(&o.rounds, "rounds", 5, "how often each server has its turn; the table has the medians")
	flag.DurationVar(&o.window, "time", time.Second, "how long a server gets work, in a round")
	flag.IntVar(&o.idle, "idle", 5000, "sessions held open to weigh an idle one")
	flag.StringVar(&o.profile, "profile", "", "`folder` for CPU profiles of the Go servers")
	flag.StringVar(&o.dir, "dir", "", "`folder` on the disk that queues are to be on (default: the folder for temporary files)")
	peers := flag.String("peers", "", "servers to measure, separated by commas (default all): "+peerNames())
	works := flag.String("work", "", "work to do, separated by commas, Q* for all that begins so (default all): "+workNames())
	short := flag.Bool("short", false, "one short round that shows that all is well; its figures mean nothing")
	flag.Parse()
	o.peers, o.works = list(*peers), list(*works)
	if *short {
		o.shorten()
	}
	return o, flag.NArg() == 0 && o.rounds > 0
}

// shorten makes the run a matter of seconds.
func (o *options) shorten() {
	o.rounds, o.window, o.warmup = 1, 30*time.Millisecond, 0
	o.sessions, o.idle, o.settle = 2, 50, 50*time.Millisecond
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

// bench runs the whole comparison and prints the table. An interrupt ends it, and every server with it.
func bench(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	runtime.GOMAXPROCS(1)
	r, err := newRun(o, os.Stderr)
	if err != nil {
		return err
	}
	if err := r.all(ctx); err != nil {
		return err
	}
	r.report(os.Stdout)
	return nil
}
