package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a server may take to start, and to end when it is told to.
const patience = 10 * time.Second

// process is a server at work.
type process struct {
	addr  string
	cmd   *exec.Cmd
	ended chan struct{} // closed when it is gone
	said  *tail         // the end of what it wrote to standard error
	quit  func()        // asks it to end
	dir   string        // its folder, removed with it; "": none

	family bool // it has children
}

// tail keeps the last words of a process.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// startServer starts a server on the given core. It ends with ctx, and when this program does.
func startServer(ctx context.Context, p *peer, w *work, sink string, core int, o *options) (s *process, err error) {
	at := place{sessions: max(w.sessions, o.idle), sink: sink}
	if w.durable {
		at.sessions = w.sessions
		if at.dir, err = newFolder(o.dir); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				os.RemoveAll(at.dir)
			}
		}()
	}
	if p.command != nil {
		return startForeign(ctx, p, at, core)
	}
	return startOwn(ctx, p, w, at, core, o)
}

// newFolder makes a folder that other users can find their way through.
func newFolder(parent string) (string, error) {
	dir, err := os.MkdirTemp(parent, "bench-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	return filepath.Abs(dir)
}

// startOwn starts a server in Go: this program again.
func startOwn(ctx context.Context, p *peer, w *work, at place, core int, o *options) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	args := []string{"serve", p.name, "-work", w.name, "-dir", at.dir, "-sink", at.sink}
	if o.profile != "" {
		args = append(args, "-profile", filepath.Join(o.profile, p.name+"-"+w.name+".cpu"))
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	if w.tls {
		cert, err := certificate()
		if err != nil {
			return nil, err
		}
		cmd.Env = append(cmd.Env, certificateVar+"="+cert)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	s := &process{cmd: cmd, quit: func() { stdin.Close() }, dir: at.dir}
	if err := s.start(core); err != nil {
		return nil, err
	}
	stuck := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	stuck.Stop()
	s.await()
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("bench: %s did not start: %s", p.name, s.said)
	}
	s.addr = strings.TrimSpace(line)
	return s, nil
}

// startForeign starts a server that has to be told its port. The kernel chose it a moment before; should somebody else have
// taken it meanwhile, we try another.
func startForeign(ctx context.Context, p *peer, at place, core int) (*process, error) {
	var last error
	for range 3 {
		var err error
		if at.addr, err = freePort(); err != nil {
			return nil, err
		}
		cmd, err := p.command(ctx, at)
		if err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		s := &process{cmd: cmd, addr: at.addr, quit: func() { cmd.Process.Kill() }, family: p.family}
		if p.family {
			s.quit = func() { cmd.Process.Signal(syscall.SIGTERM) }
		}
		if err := s.start(core); err != nil {
			return nil, err
		}
		s.await()
		if last = s.answers(); last == nil {
			s.dir = at.dir
			return s, nil
		}
		s.stop()
		last = fmt.Errorf("bench: %s did not start: %w: %s", p.name, last, s.said)
	}
	return nil, last
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (s *process) start(core int) error {
	s.said = new(tail)
	s.cmd.Stderr = s.said
	s.cmd.WaitDelay = time.Second
	s.ended = make(chan struct{})
	if err := startOn(core, s.cmd); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// await collects the process when it ends.
func (s *process) await() {
	go func() {
		defer close(s.ended)
		s.cmd.Wait()
	}()
}

// answers waits until the server greets.
func (s *process) answers() error {
	for end := time.Now().Add(patience); ; {
		select {
		case <-s.ended:
			return errors.New("it ended")
		case <-time.After(10 * time.Millisecond):
		}
		c, err := dial(s.addr, nil)
		if err == nil {
			err = c.do(nil, 1)
			c.conn.Close()
		}
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// stop ends the process, and returns when it is gone.
func (s *process) stop() {
	s.quit()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.cmd.Process.Kill()
		<-s.ended
	}
	if s.family {
		endGroup(s.cmd.Process.Pid)
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

func (s *process) cpu() (time.Duration, error) {
	if s.family {
		return familyCPU(s.cmd.Process.Pid)
	}
	return cpuTime(s.cmd.Process.Pid)
}

func (s *process) memory() (int64, error) {
	if s.family {
		return familyKiB(s.cmd.Process.Pid)
	}
	return residentKiB(s.cmd.Process.Pid)
}
