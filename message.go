package esmtp

import (
	"bytes"
	"sync"
)

// message is the way of a message from the wire to the handler, the same for DATA and BDAT: size and bare newlines
// are checked, the header becomes HEADER and EOH, the rest BODY, and the end EOM. As soon as there is a verdict
// nothing more is handed over; what still comes is counted and dropped.
type message struct {
	s       *Session
	head    headerParser
	inBody  bool
	binary  bool   // BODY=BINARYMIME: lone CR and LF are content
	halfCR  bool   // the last BDAT block ended with a CR, which is held back
	bare    []byte // scratch for repaired newlines
	partial []byte // line mode: a line of the body that isn't whole yet
	verdict Reply
	cause   error // of a verdict of ours
	octets  int64 // of the message, stuffed dots not counted (RFC 1870 §5)
}

var messages = sync.Pool{New: func() any { return new(message) }}

// keepScratch is the largest scratch buffer that goes back to the pool with its message.
const keepScratch = 64 << 10

func newMessage(s *Session) *message {
	m := messages.Get().(*message)
	m.s = s
	m.binary = s.tx.from.Body() == BodyBinaryMIME
	if s.cfg.observer.Message != nil || s.logs() {
		s.tx.begun = s.elapsed()
	}
	return m
}

// release gives m back; it must not be used any more.
func (m *message) release() {
	if cap(m.head.held)+cap(m.bare)+cap(m.partial) > keepScratch {
		return
	}
	*m = message{
		head:    headerParser{held: m.head.held[:0]},
		bare:    m.bare[:0],
		partial: m.partial[:0],
	}
	messages.Put(m)
}

// judged reports whether there is a verdict.
func (m *message) judged() bool { return !m.verdict.IsZero() }

// judge takes what a HEADER, EOH or BODY method returned.
func (m *message) judge(hook string, r Reply) {
	if !r.IsZero() {
		m.verdict = m.s.checkReply(hook, r, isFinal)
	}
}

// write takes a block of the message; hasBare tells that it has a CR or LF that is no CRLF.
func (m *message) write(p []byte, hasBare bool) {
	m.octets += int64(len(p))
	m.s.tx.octets.Store(m.octets)
	if m.judged() {
		return
	}
	if over(m.octets, m.s.maxSize) {
		m.verdict, m.cause = replyTooBig, ErrMessageSize
		m.s.limited(LimitMessageBytes)
		return
	}
	if hasBare && !m.binary {
		switch policy := m.s.cfg.bare; policy {
		case RejectBare:
			m.verdict, m.cause = replyBareNewline, ErrBareNewline
			return
		case FixBare, StripBare:
			m.bare = repairBare(m.bare[:0], p, policy)
			p = m.bare
		}
	}
	m.deliver(p, false)
}

// deliver hands p to the handler, as header fields or as body; last says that it is the end.
func (m *message) deliver(p []byte, last bool) {
	if !m.inBody {
		if p = m.header(p, last); !m.inBody {
			return
		}
	}
	m.body(p, last)
}

// header hands the fields in p to HEADER, and returns what belongs to the body.
func (m *message) header(p []byte, last bool) (body []byte) {
	h, limits := &m.head, &m.s.cfg.limits
	if len(h.held) > 0 {
		h.held = append(h.held, p...)
		p = h.held
	}
	for !m.judged() {
		if m.s.chunkMode {
			m.endHeader(HeaderSwitched, nil)
			return p
		}
		n, ended, why, skip := h.next(p, last)
		switch {
		case ended:
			if n := lineLength(nil, p); why == HeaderMalformed && over(h.octets+max(n, waiting(p, n)), limits.HeaderBytes) {
				why = HeaderLimit // as it would be if the line came in pieces
			}
			m.endHeader(why, p[:skip])
			return p[skip:]
		case over(h.octets+waiting(p, n), limits.HeaderBytes) || over(h.fields, limits.HeaderFields):
			m.endHeader(HeaderLimit, nil)
			return p
		case n == 0:
			if len(p) != len(h.held) { // else it is all there: octet by octet that would be a lot of copying
				h.held = append(h.held[:0], p...)
			}
			return nil
		}
		m.judge("HEADER", m.s.callHEADER(p[:n]))
		p = p[n:]
	}
	return nil
}

// waiting is how many octets are held until their field is whole. A CR alone begins a blank line rather than a field.
func waiting(p []byte, n int) int {
	if n > 0 || len(p) == 1 && p[0] == '\r' {
		return 0
	}
	return len(p)
}

// endHeader tells EOH why, and switches to the body in chunk mode.
func (m *message) endHeader(why HeaderEnd, separator []byte) {
	s := m.s
	m.inBody = true
	s.chunkMode = true
	s.separator = string(separator)
	if why == HeaderMalformed {
		switch s.cfg.badHeader {
		case InsertBlank:
			s.separator = "\r\n"
		case RejectBad:
			m.verdict, m.cause = replyBadHeader, ErrMalformedHeader
			return
		}
	}
	m.judge("EOH", s.callEOH(why))
	if why == HeaderLimit {
		s.limited(LimitHeader)
		if m.judged() {
			m.cause = ErrHeaderSize
		}
	}
}

// body hands p to BODY, in chunks or, if the handler asked for it, in lines.
func (m *message) body(p []byte, last bool) {
	s := m.s
	for len(p) > 0 && !m.judged() {
		if s.chunkMode && len(m.partial) == 0 {
			n := min(len(p), s.chunkSize)
			m.judge("BODY", s.callBODY(p[:n]))
			p = p[n:]
			continue
		}
		p = m.bodyLine(p)
	}
	if last && len(m.partial) > 0 && !m.judged() {
		m.judge("BODY", s.callBODY(m.partial))
		m.partial = m.partial[:0]
	}
}

// bodyLine hands over the line at the front of p, if it is whole or longer than a chunk, and returns the rest.
func (m *message) bodyLine(p []byte) (rest []byte) {
	n := lineLength(m.partial, p)
	whole := n > 0
	if !whole {
		n = len(p)
	}
	if room := m.s.chunkSize - len(m.partial); n >= room {
		n, whole = max(room, 0), true
		if n > 0 && p[n-1] == '\r' && m.s.chunkSize > 1 {
			n-- // the line may end here: its CRLF stays whole
		}
	}
	line := p[:n]
	if len(m.partial) > 0 || !whole {
		m.partial = append(m.partial, line...)
		line = m.partial
	}
	if whole {
		m.judge("BODY", m.s.callBODY(line))
		m.partial = m.partial[:0]
	}
	return p[n:]
}

// end hands over what is left, and returns the reply to the whole message.
func (m *message) end() Reply {
	if m.halfCR {
		m.halfCR = false
		m.writeLoneCR()
	}
	if !m.judged() {
		m.deliver(nil, true)
	}
	if m.judged() {
		return m.verdict
	}
	return m.s.callEOM()
}

// lineLength returns how much of p belongs to the line that partial begins, CRLF included; 0 if its end isn't in p.
func lineLength(partial, p []byte) int {
	for i := 0; ; {
		j := bytes.IndexByte(p[i:], '\n')
		if j < 0 {
			return 0
		}
		i += j + 1
		if i > 1 && p[i-2] == '\r' || i == 1 && bytes.HasSuffix(partial, cr) {
			return i
		}
	}
}
