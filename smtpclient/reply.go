package smtpclient

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/caddy-esmtp/esmtp"
)

// readReply reads a reply of one line or more (RFC 5321 §4.2). It takes LF for CRLF, and a code without text. In the text, control characters are
// spaces and what is no UTF-8 is '?': it can go into a log or a report. An enhanced status code is taken out of it (RFC 2034 §4).
// Errors of the reader are returned as they are.
func readReply(in *bufio.Reader, lim Limits) (reply esmtp.Reply, err error) {
	octets := 0
	for last := false; !last; {
		line, err := readLine(in, min(lim.Line, lim.Octets-octets))
		if err == io.EOF && octets > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return esmtp.Reply{}, err
		}
		if octets += len(line); len(reply.Lines) == lim.Lines {
			return esmtp.Reply{}, ErrReplyTooLong
		}
		var code int
		var text string
		var ok bool
		code, last, text, ok = parseLine(line)
		if !ok || reply.Code != 0 && code != reply.Code {
			return esmtp.Reply{}, fmt.Errorf("%w: %q", ErrBadReply, line[:min(len(line), 80)])
		}
		reply.Code = code
		reply.Lines = append(reply.Lines, text)
	}
	takeEnhanced(&reply)
	return reply, nil
}

// readLine reads a line of at most so many octets, its end among them. What it returns is valid until the next read.
func readLine(in *bufio.Reader, most int) (line []byte, err error) {
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		switch {
		case len(long)+len(part) > most:
			return nil, ErrReplyTooLong
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		case err == io.EOF && len(long)+len(part) > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case long == nil:
			return part, nil
		}
		return append(long, part...), nil
	}
}

// parseLine takes a line of a reply apart. The first digit of a code is 2 to 5: a client can do nothing with another.
func parseLine(line []byte) (code int, last bool, text string, ok bool) {
	s := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
	if len(s) < 3 || s[0] < '2' || s[0] > '5' || !isDigit(s[1]) || !isDigit(s[2]) {
		return 0, false, "", false
	}
	code = int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
	if len(s) == 3 {
		return code, true, "", true
	}
	return code, s[3] == ' ', plainText(s[4:]), s[3] == ' ' || s[3] == '-'
}

// plainText makes what a server said harmless.
func plainText(s string) string {
	clean := true
	for i := range len(s) {
		clean = clean && ' ' <= s[i] && s[i] <= '~'
	}
	if clean {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || 0x7f <= c && c < 0xa0 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

// takeEnhanced moves the enhanced status code from the lines into Enh, if they begin with one of the right class.
func takeEnhanced(r *esmtp.Reply) {
	enh, n := parseEnhanced(r.Lines[0])
	if n == 0 || int(enh[0]) != r.Code/100 || enh[0] == 3 {
		return
	}
	r.Enh = enh
	prefix := r.Lines[0][:n]
	for i, line := range r.Lines {
		if rest, ok := strings.CutPrefix(line, prefix); ok && (rest == "" || rest[0] == ' ') {
			r.Lines[i] = strings.TrimPrefix(rest, " ")
		}
	}
}

// parseEnhanced reads class.subject.detail at the beginning of a text (RFC 3463 §2); n is its length, 0 if there is none.
func parseEnhanced(s string) (enh esmtp.Enhanced, n int) {
	for part := range 3 {
		start := n
		for n < len(s) && n-start < 3 && isDigit(s[n]) {
			enh[part] = enh[part]*10 + uint16(s[n]-'0')
			n++
		}
		switch {
		case n == start, part == 0 && n != 1:
			return esmtp.Enhanced{}, 0
		case part < 2:
			if n == len(s) || s[n] != '.' {
				return esmtp.Enhanced{}, 0
			}
			n++
		}
	}
	if n < len(s) && s[n] != ' ' {
		return esmtp.Enhanced{}, 0
	}
	return enh, n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
