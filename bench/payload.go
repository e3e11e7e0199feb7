package main

import "fmt"

// The contents of messages. All are made before the load begins, end with CRLF, and are exactly as long as asked for on the wire,
// stuffed dots included.

const messageHeader = "From: Sender <sender@client.example>\r\n" +
	"To: Recipient <recipient01@mx.example>\r\n" +
	"Subject: A message of the usual kind\r\n" +
	"Date: Fri, 2 Jan 2026 15:04:05 +0000\r\n" +
	"Message-ID: <20260102150405.1@client.example>\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"\r\n"

// lineLength is the length of a line of base64 with its CRLF.
const lineLength = 78

// text is an ordinary message.
func text(size int) []byte {
	return fill([]byte(messageHeader), size, "")
}

// dots is a message in which a stuffed dot begins every line of the body (RFC 5321 §4.5.2).
func dots(size int) []byte {
	return fill([]byte(messageHeader), size, "..")
}

// header is a message that is nearly all header, half of it in folded fields (RFC 5322 §2.2.3).
func header(size int) []byte {
	var b []byte
	for n := 0; len(b) < size-len(messageHeader)-300; n++ {
		b = fmt.Appendf(b, "Received: from host%02d.client.example (host%02d.client.example [192.0.2.%d])\r\n"+
			"\tby mx%02d.client.example with ESMTP id 1abcdef234567.%d;\r\n"+
			"\tFri, 2 Jan 2026 15:04:05 +0000\r\n", n%100, n%100, n%250, n%100, n)
		b = fmt.Appendf(b, "X-Measured-%03d: a field of one line, as mail software likes to add\r\n", n)
	}
	return fill(append(b, messageHeader...), size, "")
}

// fill appends lines to b up to the size.
func fill(b []byte, size int, prefix string) []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	state := uint32(1)
	for len(b) < size {
		n := min(lineLength, size-len(b))
		if rest := size - len(b) - n; rest > 0 && rest < len(prefix)+2 {
			n -= 4 // leave enough for a last line
		}
		begin := len(b)
		b = append(b, prefix[:min(len(prefix), max(n-2, 0))]...)
		for len(b)-begin < n-2 {
			state = state*1664525 + 1013904223
			b = append(b, letters[state>>26])
		}
		b = append(b, '\r', '\n')
	}
	return b
}
