package wrap

import (
	"bytes"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"unicode"

	"golang.org/x/net/html/charset"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/internal/mailtext"
)

// Bounds on what others have to say, in octets.
const (
	maxReason  = 2000
	maxSubject = 200
	maxAddress = 900 // so that a line stays one
	maxHost    = 255 // RFC 5321 §4.5.3.1.2
)

// text is the part for people.
func (n *Notice) text() []byte {
	var b bytes.Buffer
	mailtext.Paragraph(&b, "", "This is the mail server "+clean(n.Hostname)+". The message that is attached was held in quarantine, and has been released to you. "+
		"Be careful with it: what it says of itself, its sender too, may be wrong. Open no file in it and follow no link that you didn't expect.")
	if reason := strings.TrimSpace(clean(n.Reason)); reason != "" {
		mailtext.Paragraph(&b, "", "It was held because of this:")
		mailtext.Paragraph(&b, "    ", mailtext.Cut(reason, maxReason))
	}
	fmt.Fprintf(&b, "Sender:    <%s>\r\n", address(n.From))
	switch len(n.To) {
	case 0:
	case 1:
		fmt.Fprintf(&b, "Recipient: <%s>\r\n", address(n.To[0]))
	default: // who they are need not be known to each of them: it may have been a Bcc
		fmt.Fprintf(&b, "Recipients: %d\r\n", len(n.To))
	}
	if !n.Arrived.IsZero() {
		fmt.Fprintf(&b, "Arrived:   %s\r\n", n.Arrived.Format(mailtext.DateTime))
	}
	return b.Bytes()
}

func address(p esmtp.Path) string { return mailtext.Cut(clean(p.String()), maxAddress) }

// quoted writes lines so that any server takes them.
func quoted(text []byte) []byte {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	w.Write(text) // into memory: it doesn't fail
	w.Close()
	return b.Bytes()
}

// clean makes a line of what others have said. What turns the direction of writing is left out: it can show an address as another.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, mailtext.Clean(s, true))
}

// header cuts a message off where its header ends.
func header(message []byte) []byte {
	n := 0
	for line := range bytes.Lines(message) {
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		n += len(line)
	}
	return message[:n]
}

// subject is that of the original, unfolded and decoded, on a line that is not too long; empty if there is none, or none that can be read.
func (l *looked) subject() string {
	decoder := mime.WordDecoder{CharsetReader: charset.NewReaderLabel}
	text, err := decoder.DecodeHeader(string(subjectField(l.head)))
	if err != nil {
		return ""
	}
	text = strings.Join(strings.Fields(clean(text)), " ")
	if cut := mailtext.Cut(text, maxSubject); cut != text {
		text = cut + "…"
	}
	return text
}

// subjectField is the value of the first field Subject as it stands there, on one line.
func subjectField(head []byte) (value []byte) {
	inside := false
	for line := range bytes.Lines(head) {
		line = bytes.TrimRight(line, "\r\n")
		folded := len(line) > 0 && (line[0] == ' ' || line[0] == '\t') // RFC 5322 §2.2.3
		if inside && !folded {
			break
		}
		if !inside && !folded {
			name, rest, _ := bytes.Cut(line, []byte(":"))
			inside = bytes.EqualFold(bytes.TrimRight(name, " \t"), []byte("Subject"))
			line = rest
		}
		if inside {
			value = append(value, line...)
		}
	}
	return value
}

// encodeSubject writes the subject of the message. What looks like an encoded word was not one when it had been decoded, and must not become one again.
func encodeSubject(original string) string {
	const ours = "Released from quarantine"
	if original == "" {
		return ours
	}
	text := strings.ReplaceAll(ours+": "+original, "=?", "= ?")
	return strings.ReplaceAll(mime.QEncoding.Encode("utf-8", text), "?= =?", "?=\r\n =?") // RFC 2047 §2: a line has 76 at most
}
