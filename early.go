package esmtp

// holdGreeting holds the greeting back for a while. Who speaks before it came doesn't speak SMTP, or has no time to listen: spam
// software, mostly (RFC 5321 §4.3.1: the client waits for the greeting). It reports whether the client was silent.
func (s *Session) holdGreeting() bool {
	delay := s.cfg.timeouts.Greeting
	if delay <= 0 {
		return true
	}
	if s.cfg.teaser != "" {
		s.out = append(s.out, "220-"+s.Hostname()+" "+s.cfg.teaser+"\r\n"...)
		if s.flush() != nil {
			return false
		}
	}
	switch err := s.await(StateWaiting, s.elapsed(), delay); {
	case err == nil:
		s.outOfStep(ErrEarlyTalker)
		s.bye(replyEarlyTalker, ErrEarlyTalker)
		return false
	case isTimeout(err) && !s.timeIsUp():
		return true
	default:
		s.fail(err)
		return false
	}
}

// lastOfGroup are the verbs behind which a client must wait for the reply (RFC 2920 §3.1).
const lastOfGroup = 1<<verbHELO | 1<<verbEHLO | 1<<verbLHLO | 1<<verbDATA | 1<<verbVRFY | 1<<verbEXPN | 1<<verbNOOP |
	1<<verbAUTH | 1<<verbUnknown

// tooEarly reports whether the client has sent more behind a command than it may.
func (s *Session) tooEarly(v verb) bool {
	if !s.cfg.forbidEarly || v == verbBDAT || v == verbQUIT || !s.in.pending() {
		return false
	}
	return lastOfGroup&(1<<v) != 0 || !s.offered(extPIPELINING)
}
