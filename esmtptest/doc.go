// Package esmtptest is for the authors of handlers: servers and clients in memory, and dialogues that are tests and documentation in one.
//
//	func TestWeDoNotRelay(t *testing.T) {
//		srv := &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler { return new(Mine) }}
//		esmtptest.Run(t, srv, `
//			S: 220 *
//			C: EHLO me.example
//			S: 250-*
//			S: ...
//			C: MAIL FROM:<a@me.example>
//			C: RCPT TO:<b@elsewhere.example>
//			S: 250 2.1.0 *
//			S: 550 5.7.1 we do not relay
//			C: QUIT
//			S: 221 *
//			close
//		`)
//	}
//
// # Dialogues
//
// A dialogue is text, a step on each line; white space around a line, empty lines, and those that begin with '#' don't count.
//
//	C: text     sends the text and CRLF. C lines that stand together go out in one write: that is pipelining.
//	C| text     sends the text with its Go escapes, such as \r \n \x00, and nothing more.
//	S: pattern  reads a line that has to match: '*' stands for any text.
//	S: ...      reads the rest of a reply of several lines, or a whole reply whatever it says.
//	send        sends what the C lines so far gathered, so that the next ones go out in a write of their own.
//	close       expects that the server closes the connection without another word.
//	leave       closes the connection from this side.
//
// [RunFiles] runs dialogues from files, such as those in this package's testdata: documentation that can't go stale.
// When a step fails, the test does, with the line's number, what was got and wanted, and all that was said.
//
// # Fuzzing
//
// A dialogue shows what should happen. [Fuzz], [Check] and [CheckSession] look for what should not: they run odd sessions against a
// handler of yours, right and wrong commands, messages of every sort in segments of every size, and compare each with [Model], a
// slow and plain account of the protocol's rules that knows what your methods returned:
//
//	func FuzzMine(f *testing.F) {
//		esmtptest.Fuzz(f, func(*esmtp.Session) esmtp.Handler { return new(Mine) })
//	}
//
// Then run go test -fuzz=FuzzMine. Without -fuzz it runs what is in the corpus, as a test. A handler that lets clients log in answers
// wrong passwords late: run [Check] for it inside testing/synctest, where waiting costs nothing.
package esmtptest
