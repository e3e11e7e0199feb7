// Package esmtp is an SMTP server that you subclass: every verb of the protocol is a method, and you override those that you care for.
//
//	type Mine struct{ esmtp.Default }
//
//	func (m *Mine) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
//		if to.Domain() != "example.org" {
//			return esmtp.Deny(550, 5, 7, 1, "we do not relay")
//		}
//		return m.Default.RCPT(s, to)
//	}
//
//	func main() {
//		srv := &esmtp.Server{
//			Hostname:   "mx.example.org",
//			NewHandler: func(*esmtp.Session) esmtp.Handler { return new(Mine) },
//		}
//		log.Fatal(srv.ListenAndServe("tcp", "127.0.0.1:2525"))
//	}
//
// The one idea to hold: the engine owns the protocol, the [Handler] owns the decisions. The engine reads, checks syntax, order and
// limits, calls the method of the verb, and writes exactly one reply; no method can bring the session out of step. A message is
// pushed to the handler as it comes: HEADER for each field, EOH, BODY for each chunk, a slice of the read buffer, and EOM.
//
// # Reading on
//
// handler.go has the verbs, defaults.go what they do unless overridden, session.go what a method can see and set, server.go how to
// serve. The engine has a file per verb or family of verbs (helo.go, starttls.go, auth.go, mail.go, rcpt.go, data.go, bdat.go, xclient.go,
// other.go, …) around engine.go, the loop, and command.go, the dispatch. extensions.go and parameters.go say what is offered and
// accepted. chunker.go finds the end of a message and headers.go its fields; message.go brings them to the handler.
package esmtp
