package esmtp

import (
	"context"
	"sync/atomic"
	"time"
)

// sessionContext is made when a handler first asks for it: most sessions never do.
type sessionContext struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func newSessionContext() *sessionContext {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &sessionContext{ctx, cancel}
}

func (s *Session) cancelContext(cause error) {
	if c := s.ctx.Load(); c != nil {
		c.cancel(cause)
	}
}

// watcher waits for the peer to go away while a hook is at work, as net/http does: by reading one octet. An octet that comes is
// kept for the next read.
type watcher struct {
	done  chan struct{}
	stop  atomic.Bool
	octet [1]byte
	n     int
}

// startWatch begins to watch, if nothing is left to read: as long as something is, the peer may well be gone after having said all
// that it has to say.
func (s *Session) startWatch() {
	if s.watch != nil || s.conn == nil || s.in.pending() || s.leaving || s.hijacked {
		return
	}
	w := &watcher{done: make(chan struct{})}
	s.watch = w
	s.clock.read = 0
	s.conn.SetReadDeadline(time.Time{})
	if limit := s.cfg.timeouts.Session; limit > 0 {
		s.conn.SetReadDeadline(s.started.Add(limit))
	}
	go func() {
		defer close(w.done)
		var err error
		if w.n, err = s.conn.Read(w.octet[:]); w.n == 0 && err != nil && !w.stop.Load() {
			if isTimeout(err) {
				err = ErrSessionTime
			}
			s.cancelContext(err)
		}
	}()
}

// stopWatch ends the watch of a hook that returned.
func (s *Session) stopWatch() {
	w := s.watch
	if w == nil {
		return
	}
	s.watch = nil
	select {
	case <-w.done:
	default:
		w.stop.Store(true)
		s.conn.SetReadDeadline(longAgo)
		<-w.done
		s.conn.SetReadDeadline(time.Time{})
	}
	s.clock.read = 0
	if w.n > 0 {
		s.in.push(w.octet[0])
	}
}
