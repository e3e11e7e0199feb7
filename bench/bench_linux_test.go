package main // the accounting of other processes is Linux's

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the servers too, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
		return
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // with the race detector every server would take a second to end
	os.Exit(m.Run())
}

// The figures of so short a run mean nothing, and none is compared: that every server does all its work, without a refusal, is
// what it shows.
func TestShortRunFillsTheTable(t *testing.T) {
	var o options
	o.shorten()
	r, err := newRun(o, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := r.all(ctx); err != nil {
		t.Fatal(err)
	}
	for _, w := range allWorks {
		for _, p := range r.peers {
			list := r.samples[cell{w, p}]
			if want := p.can(w); want != (len(list) == 1) {
				t.Errorf("%s, %s: %d samples, but can do it: %v", w.name, p.name, len(list), want)
			} else if want && !w.idle() && (list[0].messages < 1 || list[0].octets == 0 || list[0].cpu <= 0) {
				t.Errorf("%s, %s: %+v", w.name, p.name, list[0])
			}
		}
	}
	var table bytes.Buffer
	r.report(&table)
	for _, w := range r.works {
		if !strings.Contains(table.String(), "| "+w.name+": "+w.what+" |") {
			t.Errorf("the table has no line for %s", w.name)
		}
	}
	for _, bad := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(table.String(), bad) {
			t.Errorf("the table has a %s:\n%s", bad, &table)
		}
	}
}

// An interrupt is a context that ends.
func TestInterruptEndsTheServers(t *testing.T) {
	core, _, err := cores()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range peers {
		w := allWorks[slices.IndexFunc(allWorks, p.can)]
		ctx, cancel := context.WithCancel(t.Context())
		o := options{}
		s, err := startServer(ctx, p, w, "", core, &o)
		if err != nil && p.command != nil {
			t.Logf("%s is left out: %v", p.name, err)
			cancel()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		select {
		case <-s.ended:
		case <-time.After(patience):
			t.Errorf("%s is still there", p.name)
		}
		s.stop() // does no harm
	}
}

// A server of many processes is charged for those that have ended, too.
func TestFamilyCountsChildrenThatHaveEnded(t *testing.T) {
	busy := `i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done`
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "( "+busy+" ) & wait; echo done; read x")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	own, err := cpuTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	all, err := familyCPU(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if all < own+20*time.Millisecond {
		t.Errorf("the family has used %v, the parent alone %v", all, own)
	}
	if kib, err := familyKiB(cmd.Process.Pid); err != nil || kib <= 0 {
		t.Errorf("it has %d KiB, %v", kib, err)
	}
}

func TestPayloadsAreWellFormedAndAsLongAsAsked(t *testing.T) {
	for size := 1000; size < 1400; size++ {
		for name, make := range map[string]func(int) []byte{"text": text, "dots": dots, "header": header} {
			p := make(size)
			if len(p) != size {
				t.Fatalf("%s(%d) has %d octets", name, size, len(p))
			}
			for line := range bytes.Lines(p) {
				dotted := bytes.HasPrefix(line, []byte("."))
				if !bytes.HasSuffix(line, []byte("\r\n")) || bytes.Count(line, []byte("\r")) != 1 || len(line) > 1000 ||
					dotted && !bytes.HasPrefix(line, []byte("..")) {
					t.Fatalf("%s(%d) has the line %q", name, size, line)
				}
			}
		}
	}
	_, body, _ := bytes.Cut(dots(10_000), []byte("\r\n\r\n"))
	for line := range bytes.Lines(body) {
		if !bytes.HasPrefix(line, []byte("..")) && len(line) > 3 {
			t.Fatalf("dots: line %q has no stuffed dot", line)
		}
	}
	head, _, _ := bytes.Cut(header(32<<10), []byte("\r\n\r\n"))
	if len(head) < 32000 {
		t.Errorf("header: %d octets of header", len(head))
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		list []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{5, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := middle(c.list); got != c.want {
			t.Errorf("middle of %v = %v, want %v", c.list, got, c.want)
		}
	}
}

func TestRepliesCountsLastLines(t *testing.T) {
	if n := replies(ansEHLO + ansMAIL + ansDATA); n != 3 {
		t.Errorf("got %d replies, want 3", n)
	}
}
