package esmtp

import (
	"log/slog"
	"testing"
)

// A log that nobody reads costs nothing.
func TestALogThatIsOffAllocatesNothing(t *testing.T) {
	srv := &Server{Logger: slog.New(slog.DiscardHandler)}
	if err := srv.start(); err != nil {
		t.Fatal(err)
	}
	s := &Session{srv: srv, cfg: &srv.cfg, remote: noAddr{}}
	s.tx = newTransaction(s, Path{})
	line := []byte("NOOP")
	if n := testing.AllocsPerRun(100, func() {
		s.logMessage(Reply{Code: 250}, MessageTimes{})
		s.logDropped(s.tx)
		s.logEnd()
		s.noteCommand(verbNOOP, line)
		s.noteReply(Reply{Code: 250})
	}); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}
