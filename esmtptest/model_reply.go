package esmtptest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// WireReply is a reply as the client gets it.
type WireReply struct {
	Code  int
	Lines []string // the text behind the code, enhanced status code included
}

// ParseReplies reads the octets that a server wrote. Anything that is not a sequence of well-formed replies is an error:
// a line without CRLF or over 512 octets, a control character, lines of one reply with different codes
// (RFC 5321 §4.2, §4.5.3.1.5).
func ParseReplies(output []byte) (replies []WireReply, err error) {
	var r WireReply
	for len(output) > 0 {
		line, rest, ok := bytes.Cut(output, []byte("\r\n"))
		switch {
		case !ok:
			return replies, fmt.Errorf("esmtptest: reply without CRLF: %.80q", output)
		case len(line) > 510 && (len(line) > maxSASL-2 || !bytes.HasPrefix(line, []byte("334 "))): // RFC 4954 §4
			return replies, fmt.Errorf("esmtptest: reply line of %d octets: %.80q", len(line)+2, line)
		case len(line) < 4 || line[3] != ' ' && line[3] != '-':
			return replies, fmt.Errorf("esmtptest: not a reply: %.80q", line)
		case bytes.ContainsFunc(line, func(c rune) bool { return c < ' ' || 0x7f <= c && c < 0xa0 }):
			return replies, fmt.Errorf("esmtptest: control character in a reply: %.80q", line)
		}
		code, err := strconv.Atoi(string(line[:3]))
		if err != nil || code < 200 || code > 599 || len(r.Lines) > 0 && code != r.Code {
			return replies, fmt.Errorf("esmtptest: bad reply code: %.80q", line)
		}
		r.Code = code
		r.Lines = append(r.Lines, string(line[4:]))
		if line[3] == ' ' {
			replies = append(replies, r)
			r = WireReply{}
		}
		output = rest
	}
	if len(r.Lines) > 0 {
		return replies, fmt.Errorf("esmtptest: reply without a last line: %q", r.Lines)
	}
	return replies, nil
}

// enhancedOf returns the enhanced status code at the front of a line, "" if there is none.
func enhancedOf(line string) string {
	word, _, _ := strings.Cut(line, " ")
	part := strings.Split(word, ".")
	if len(part) != 3 {
		return ""
	}
	for _, p := range part {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 999 || len(p) > 3 {
			return ""
		}
	}
	return word
}

// want is what the model expects in answer to a command.
type want struct {
	codes  []int // any of them; none: no reply
	enh    esmtp.Enhanced
	plain  bool // no enhanced status code: greeting, HELO, EHLO
	either bool // or one, or none
	close  bool // the session is over after it
}

func wants(codes ...int) want { return want{codes: codes} }

func (w want) andClose() want {
	w.close = true
	return w
}

// usual are the codes that the zero Reply stands for.
var usual = map[string]int{
	"CONNECT": 220, "HELO": 250, "EHLO": 250, "MAIL": 250, "RCPT": 250, "DATA": 354, "EOM": 250, "RSET": 250,
	"VRFY": 252, "EXPN": 502, "HELP": 214, "NOOP": 250, "ETRN": 502, "QUIT": 221, "UNKNOWN": 500, "AUTH": 235, "STARTTLS": 220,
}

// possible reports whether a verb can have a reply code; with any other one the client gets 451.
func possible(verb string, code int) bool {
	if code > 0 && code/10%10 > 5 { // RFC 5321 §4.2
		return false
	}
	failure := 400 <= code && code <= 599
	switch verb {
	case "HELO", "EHLO":
		return code == 250 || failure
	case "STARTTLS":
		return code == 220 || failure
	case "AUTH":
		return code == 235 || failure
	case "DATA":
		return code == 354 || failure
	case "UNKNOWN":
		return code == esmtp.NoReply.Code || 200 <= code && code <= 299 || failure
	}
	return 200 <= code && code <= 299 || failure
}

// wanted is what the client should get, given what a hook returned.
func wanted(c Call) want {
	r := c.Reply
	switch {
	case c.Panic != nil:
		return want{codes: []int{451}, enh: esmtp.Enhanced{4, 3, 0}}
	case r.IsZero():
		return want{codes: []int{usual[c.Verb]}}
	case r.Code == 0: // esmtp.Drop
		return want{close: true}
	case !possible(c.Verb, r.Code):
		return want{codes: []int{451}, enh: esmtp.Enhanced{4, 3, 0}}
	case r.Code == esmtp.NoReply.Code:
		return want{close: r.Close}
	}
	w := want{codes: []int{r.Code}, enh: r.Enh, close: r.Close || r.Code == 421 || r.Code == 521}
	if c.Verb == "CONNECT" && r.Code < 300 {
		w.codes[0] = 220
	}
	return w
}

// checkEnhanced checks the enhanced status codes of a reply (RFC 2034 §4): the same on every line, its class the first digit of
// the reply code, and none at all on 3xx and where w says so.
func (m *Model) checkEnhanced(r WireReply, w want) error {
	if w.either {
		return nil
	}
	wantOne := m.enhanced && !w.plain && r.Code/100 != 3 && w.enh != esmtp.NoEnhanced
	first := enhancedOf(r.Lines[0])
	switch {
	case !wantOne && w.enh == esmtp.NoEnhanced: // what stands there is the handler's own text
		return nil
	case !wantOne && first != "" && !w.plain:
		return fmt.Errorf("enhanced status code in %v", r)
	case !wantOne:
		return nil
	case first == "" || first[0] != byte('0'+r.Code/100):
		return fmt.Errorf("no enhanced status code of class %d in %v", r.Code/100, r)
	case w.enh != esmtp.Enhanced{} && first[1:] != w.enh.String()[strings.IndexByte(w.enh.String(), '.'):] && w.enh[1] < 1000 && w.enh[2] < 1000:
		return fmt.Errorf("enhanced status code %s in %v, want %v", first, r, w.enh)
	}
	for _, line := range r.Lines {
		if enhancedOf(line) != first {
			return fmt.Errorf("lines with different enhanced status codes: %v", r)
		}
	}
	return nil
}
