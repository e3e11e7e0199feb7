package esmtp

// The replies of the engine itself, each with the rule that it comes from.
var (
	replyLocalError    = Deny(451, 4, 3, 0, "Local error in processing")                              // RFC 5321 §4.2.5
	replyUnavailable   = Deny(421, 4, 3, 0, "Service not available, closing connection").Hangup()     // RFC 5321 §3.8
	replyShutdown      = Deny(421, 4, 3, 2, "Service shutting down, closing connection").Hangup()     // RFC 5321 §3.8
	replySessionTime   = Deny(421, 4, 3, 2, "Session took too long, closing connection").Hangup()     // RFC 5321 §3.8
	replyTimeout       = Deny(421, 4, 4, 2, "Timeout exceeded, closing connection").Hangup()          // RFC 5321 §4.5.3.2
	replyOutOfStep     = Deny(421, 4, 7, 0, "Far over the limit, closing connection").Hangup()        // RFC 5321 §7.8
	replyTooManyErrors = Deny(421, 4, 7, 0, "Too many errors, closing connection").Hangup()           // RFC 5321 §7.8
	replyTooManyAll    = Deny(421, 4, 3, 2, "Too many connections, try again later").Hangup()         // RFC 5321 §7.8
	replyHTTP          = Deny(421, 4, 7, 0, "This is a mail server, closing connection").Hangup()     // RFC 5321 §7.8
	replyTooManyPeer   = Deny(421, 4, 7, 0, "Too many connections from your address").Hangup()        // RFC 5321 §7.8
	replyControl       = Deny(500, 5, 5, 2, "Control character in a command")                         // RFC 5321 §4.1.2
	replyNotASCII      = Deny(500, 5, 5, 2, "Octet above 127 in a command")                           // RFC 5321 §2.4
	replyBadSyntax     = Deny(500, 5, 5, 2, "Bad syntax")                                             // RFC 5321 §4.2.4
	replyLineTooLong   = Deny(500, 5, 5, 2, "Line too long")                                          // RFC 5321 §4.5.3.1.4
	replyRefused       = Deny(503, 5, 5, 1, "No service here, please QUIT")                           // RFC 5321 §3.1
	replyNeedHELO      = Deny(503, 5, 5, 1, "Say HELO or EHLO first")                                 // RFC 5321 §4.1.4
	replyNestedMAIL    = Deny(503, 5, 5, 1, "Sender already specified")                               // RFC 5321 §4.1.4
	replyNeedMAIL      = Deny(503, 5, 5, 1, "Need MAIL before RCPT")                                  // RFC 5321 §4.1.4
	replyNeedMAILFirst = Deny(503, 5, 5, 1, "Need MAIL command")                                      // RFC 5321 §4.1.4
	replyNeedRCPT      = Deny(503, 5, 5, 1, "Need RCPT (recipient)")                                  // RFC 5321 §3.3
	replyNoValidRcpt   = Deny(554, 5, 5, 1, "No valid recipients")                                    // RFC 5321 §3.3
	replySyntaxMAIL    = Deny(501, 5, 5, 4, "Syntax: MAIL FROM:<address>, MAIL requires return-path") // RFC 5321 §4.1.1.2
	replySyntaxRCPT    = Deny(501, 5, 5, 4, "Syntax: RCPT TO:<address>, RCPT requires forward-path")  // RFC 5321 §4.1.1.3
	replyBadSender     = Deny(501, 5, 1, 7, "Bad sender address")                                     // RFC 3463 §3.2
	replyBadRecipient  = Deny(501, 5, 1, 3, "Bad recipient address")                                  // RFC 3463 §3.2
	replyNeedUTF8From  = Deny(553, 5, 6, 7, "Address is not ASCII: declare SMTPUTF8")                 // RFC 6531 §3.5
	replyNeedUTF8To    = Deny(553, 5, 6, 7, "Address is not ASCII: declare SMTPUTF8 in MAIL")         // RFC 6531 §3.5
	replyTooManyMails  = Deny(452, 4, 5, 3, "Too many messages in this session")                      // RFC 9422 §4.1
	replyTooManyRcpts  = Deny(452, 4, 5, 3, "Too many recipients")                                    // RFC 5321 §4.5.3.1.10
	replyBinaryData    = Deny(503, 5, 5, 1, "BODY=BINARYMIME needs BDAT")                             // RFC 3030 §3
	replyAfterBDAT     = Deny(503, 5, 5, 1, "Not within BDAT")                                        // RFC 3030 §2
	replyNoCHUNKING    = Deny(503, 5, 5, 1, "CHUNKING was not offered")                               // RFC 3030 §2
	replySyntaxBDAT    = Deny(501, 5, 5, 4, "Syntax: BDAT size [LAST]")                               // RFC 3030 §2
	replyBDATFailed    = Deny(503, 5, 5, 1, "An earlier chunk was refused")                           // RFC 3030 §2
	replyTooBig        = Deny(552, 5, 3, 4, "Message too big for this system")                        // RFC 1870 §6.3
	replyBareNewline   = Deny(554, 5, 6, 0, "Message has a CR or LF that is not part of a CRLF")      // RFC 5321 §2.3.8
	replyBadHeader     = Deny(550, 5, 6, 0, "Message has a malformed header line")                    // RFC 5322 §2.2
)

// The replies about TLS.
var (
	replyNoTLS        = Deny(502, 5, 5, 1, "TLS is not available")                         // RFC 3207 §4
	replyTLSAlready   = Deny(503, 5, 5, 1, "TLS is on already")                            // RFC 3207 §4.2
	replyNeedEHLO     = Deny(503, 5, 5, 1, "Say EHLO first")                               // RFC 5321 §4.1.4
	replyNeedTLS      = Deny(530, 5, 7, 0, "Must issue a STARTTLS command first")          // RFC 3207 §4
	replyTLSInjection = Deny(554, 5, 5, 0, "Octets behind STARTTLS in the clear").Hangup() // RFC 3207 §4.2
	replyNoCert       = Deny(454, 4, 7, 0, "TLS not available due to temporary reason")    // RFC 3207 §4
	replySTARTTLS     = Reply{Code: 220, Lines: []string{"Ready to start TLS"}}            // RFC 3207 §4
)

// The replies of AUTH (RFC 4954 §4, §6).
var (
	replyAuthOK        = Deny(235, 2, 7, 0, "Authentication succeeded")
	replyAuthFailed    = Deny(535, 5, 7, 8, "Authentication credentials invalid")
	replyAuthTemporary = Deny(454, 4, 7, 0, "Temporary authentication failure")
	replyAuthCancelled = Deny(501, 5, 7, 0, "Authentication cancelled")
	replyAuthAlready   = Deny(503, 5, 5, 1, "Already authenticated")
	replyAuthInMail    = Deny(503, 5, 5, 1, "AUTH not within a mail transaction")
	replyAuthMechanism = Deny(504, 5, 5, 4, "Mechanism not offered")
	replyAuthNeedsTLS  = Deny(538, 5, 7, 11, "Encryption required for this mechanism")
	replyNoAUTH        = Deny(503, 5, 5, 1, "AUTH was not offered")
	replyNeedAUTH      = Deny(530, 5, 7, 0, "Authentication required")
	replySyntaxAUTH    = Deny(501, 5, 5, 4, "Syntax: AUTH mechanism [initial-response]")
	replyBadBase64     = Deny(501, 5, 5, 2, "Response is not base64")
	replyBadSASL       = Deny(501, 5, 5, 2, "Response can't be read")
	replySASLTooLong   = Deny(500, 5, 5, 6, "Response too long")
	replyTooManyAuth   = Deny(421, 4, 7, 0, "Too many failed authentications, closing connection").Hangup()
)

// The replies to the recipients of one message.
var (
	replyPRDR        = Reply{Code: 353, Lines: []string{"A reply for each recipient follows"}} // draft-hall-prdr
	replyDeliverTime = Deny(451, 4, 4, 7, "Delivery took too long")                            // RFC 3463 §3.5
	replyDiffer      = Deny(451, 4, 3, 0, "Not delivered to all recipients")
)

// The replies to clients that do too much, or too soon.
var (
	replyEarlyTalker = Deny(554, 5, 5, 0, "You spoke before you may").Hangup()             // RFC 2920 §3.1
	replyTooFast     = Deny(450, 4, 7, 1, "Too much in too short a time, try again later") // RFC 3463 §3.8
	replyAuthTooFast = Deny(454, 4, 7, 0, "Too many failed authentications, try again later")
	replyTLSTooFast  = Deny(454, 4, 7, 0, "Too many TLS handshakes, try again later")
)

func replyNoArg(verb string) Reply { return Deny(501, 5, 5, 4, verb+" takes no argument") }

// The kinds of reply that a method may return.
func isGreeting(code int) bool { return code/100 == 2 || code/100 == 4 || code/100 == 5 }
func is250(code int) bool      { return code == 250 || code/100 == 4 || code/100 == 5 }
func isDATA(code int) bool     { return code == 354 || code/100 == 4 || code/100 == 5 }
func isSTARTTLS(code int) bool { return code == 220 || code/100 == 4 || code/100 == 5 }
func isAUTH(code int) bool     { return code == 235 || code/100 == 4 || code/100 == 5 }
func isFinal(code int) bool    { return code/100 == 2 || code/100 == 4 || code/100 == 5 }
func isAny(code int) bool      { return isFinal(code) || code == NoReply.Code }

// checkReply makes sure that a handler's reply is one that its verb can have. One that is not is a bug of the handler, and becomes 451.
func (s *Session) checkReply(hook string, r Reply, allowed func(code int) bool) Reply {
	switch {
	case r.Code == 0 && r.Close:
		return r // Drop
	case r.Code > 599 || r.Code/10%10 > 5 || !allowed(r.Code): // RFC 5321 §4.2
		s.Logger().Error("handler returned a reply that this verb can't have", "verb", hook, "reply", r.Error())
		return replyLocalError
	case r.Code == 421 || r.Code == 521: // RFC 5321 §3.8, RFC 7504 §3
		r.Close = true
	}
	return r
}
