package esmtp

// Handler has a method for every verb of the protocol, named as on the wire. Embed [Default] and override
// what you need, or embed another Handler to make a layer over it:
//
//	type Mine struct{ esmtp.Default }        // a server of your own
//	type Greylist struct{ esmtp.Handler }    // a layer: what it doesn't override goes to the next
//
// There is one Handler value per connection, made by [Server.NewHandler], and all its methods are called
// on that connection's goroutine, one at a time: its fields are the connection's state and need no locks.
//
// The engine checks syntax, order, limits and state before it calls a method, and moves the session on
// only if the reply is a success. It makes every call itself: no verb of Default calls another. A panic in
// a method is logged and answered with 451; the session goes on.
//
// Write
//
//	var _ esmtp.Handler = (*Mine)(nil)
//
// beside your type: then a wrong signature is a compile error. [Vet] finds misspelt names.
type Handler interface {
	// CONNECT greets a new connection (RFC 5321 §3.1). The zero Reply is the usual 220; any 2xx is
	// written as 220. A 4xx or 5xx refuses: after 421 and 521 the connection is closed, after any other
	// all commands but QUIT get 503. [Drop] closes without a word. It is called again after XCLIENT, from a client that is trusted
	// with it ([Server].TrustXCLIENT): all that the session knew is forgotten, and the handler should forget it too.
	CONNECT(s *Session) Reply

	// HELO and EHLO say who the client claims to be; domain is a domain name or an address literal
	// (RFC 5321 §4.1.1.1). On success, and only then, an open transaction is dropped.
	HELO(s *Session, domain string) Reply

	// EHLO is also called for LHLO (RFC 2033). It returns the greeting and then an extension a line. What it returns is both advertised and
	// enabled: take "SMTPUTF8" out and it is refused; append "XOORG" and that parameter is accepted
	// by MAIL and RCPT; change "SIZE 1000" and that is the limit.
	EHLO(s *Session, domain string) Reply

	// STARTTLS is asked before a TLS handshake (RFC 3207): 220 or the zero Reply let it begin. It is not called when there can be none: no
	// [Server.TLSConfig], TLS on already, octets sent behind it in the clear.
	STARTTLS(s *Session) Reply

	// Secured is told that the handshake is done: [Session.TLS] has the state of it. All that the client said before is forgotten, and
	// the handler should forget it too. For a connection that was in TLS from the start it is not called: CONNECT sees the state.
	Secured(s *Session)

	// Mechanisms lists the SASL mechanisms with which clients can log in, in upper case. Default has none, and so no AUTH. EHLO offers
	// those that make sense on the connection: PLAIN, LOGIN, OAUTHBEARER and XOAUTH2 only in TLS, EXTERNAL only with a client certificate.
	Mechanisms(s *Session) []string

	// AUTH carries on an exchange (RFC 4954); 235 with a call of [Exchange.Accept] logs the client in. Default.AUTH knows the mechanisms PLAIN, LOGIN,
	// CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256 and their -PLUS forms, OAUTHBEARER, XOAUTH2, EXTERNAL and ANONYMOUS, and asks
	// Authenticate and Secret; override AUTH to add another. It is not called out of order, twice, or for a mechanism that was not offered.
	AUTH(s *Session, mechanism string, x *Exchange) Reply

	// Authenticate decides whether credentials are right. Only 235 lets the client in; the zero Reply is 535. Use 454 when the
	// answer can't be had now. Take the same time whether or not there is such a user.
	Authenticate(s *Session, c Credentials) Reply

	// Secret returns what is known of a user's password, for CRAM-MD5 and SCRAM, and whether there is such a user. After the
	// proof Authenticate is asked too, with Verified set.
	Secret(s *Session, mechanism, user string) (secret Secret, ok bool)

	// MAIL begins a transaction (RFC 5321 §4.1.1.2). from can be null; its parameters are checked.
	MAIL(s *Session, from Path) Reply

	// RCPT adds a recipient (RFC 5321 §4.1.1.3). Any 2xx accepts it.
	RCPT(s *Session, to Path) Reply

	// DATA is asked before the message comes: 354 or the zero Reply let it come. It is asked for the
	// first BDAT of a message too, and there the 354 isn't written (RFC 3030).
	DATA(s *Session) Reply

	// HEADER gets a header field: its name as written and its value unfolded (RFC 5322 §2.2.3), without
	// the leading white space. The octets as they came are at hand with [Session.Field]. Nothing is
	// answered: the zero Reply goes on, any other is the verdict on the message: no more of it is
	// handed over, the rest is read and dropped, and the verdict is written where EOM's reply would be.
	HEADER(s *Session, name, value string) Reply

	// EOH comes once per message, after the last header field; why tells what ended the header.
	// It returns as HEADER does.
	EOH(s *Session, why HeaderEnd) Reply

	// BODY gets the message after the header, a piece at a time and never an empty one. Dots are
	// unstuffed. chunk is a slice of the read buffer, valid only during the call: copy what you keep.
	// It returns as HEADER does.
	BODY(s *Session, chunk []byte) Reply

	// EOM is called at the end of a message that came whole and was not refused. Its success makes
	// this server responsible for the message (RFC 5321 §4.2.5, §6.1).
	EOM(s *Session) Reply

	// RSET drops the transaction, which is gone when RSET is called (RFC 5321 §4.1.1.5).
	RSET(s *Session) Reply

	// VRFY, EXPN, HELP and NOOP get the rest of the line; for HELP and NOOP it can be empty.
	VRFY(s *Session, arg string) Reply
	EXPN(s *Session, arg string) Reply
	HELP(s *Session, arg string) Reply
	NOOP(s *Session, arg string) Reply

	// ETRN asks to begin delivery of what is queued for a node (RFC 1985): arg is a domain name, "@" and one for it and all
	// below it, or "#" and the name of a queue. 250 to 253 say that it began, 458 that it can't, 459 that this client may not
	// ask for it. It is called only if EHLO returned the line "ETRN", and never within a transaction.
	ETRN(s *Session, arg string) Reply

	// QUIT says goodbye. The connection is closed after the reply, unless QUIT calls s.Disconnect(false).
	QUIT(s *Session) Reply

	// UNKNOWN gets every command that is no verb known here: the verb in upper case and the rest of
	// the line. To add a verb for good, see [Session.Handle].
	UNKNOWN(s *Session, verb, arg string) Reply

	// Posted gets a message that somebody has sent with [Session.Post], between two commands; its type is a matter between the two. The engine itself
	// posts [Outlived]. The zero Reply goes on; a 421 is written as the last word of the session, and [Drop] ends it without one.
	Posted(s *Session, message any) Reply

	// Failed is told what went wrong in the session; see [SessionError]. It decides whether the session goes on, if it can:
	// after [HangUp] it ends with the reply to the command at hand.
	Failed(s *Session, e SessionError) Decision

	// Closed is the last call, made exactly once per connection, after it was closed. err is nil
	// after QUIT; otherwise it says why: io.EOF when the peer left without QUIT, or an error that
	// matches [ErrTimeout], [ErrTooManyErrors], [ErrShutdown], [ErrRefused], [ErrHangup], …
	Closed(s *Session, err error)

	// sealed lets only Default, and what embeds it, be a Handler. That is how verbs can be added
	// without breaking anybody.
	sealed()
}
