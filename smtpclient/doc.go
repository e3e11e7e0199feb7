// Package smtpclient sends mail by SMTP (RFC 5321) and LMTP (RFC 2033).
//
// It has two levels. [Conn.Send] takes a [Message] and does what is best with the server at hand: the envelope in one go where
// PIPELINING is offered, CHUNKING for binary mail, parameters only if they were offered, and a result for each recipient:
//
//	c, err := smtpclient.Dial(ctx, "tcp", "mx.example.org:25", &smtpclient.Options{LocalName: "client.example"})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	_, err = c.Send(ctx, &smtpclient.Message{From: from, To: []esmtp.Path{to}, Body: file})
//	if err != nil {
//		return err
//	}
//	return c.Quit(ctx)
//
// Below it is a method for each command, [Conn.Mail], [Conn.Rcpt], [Conn.Data] and so on, which hands back each reply as it comes: for
// programs that stand between a client and a server.
//
// The server is not trusted. Whatever it says or doesn't say, the client's memory and time are bounded, and what comes of it is an
// [*Error] that tells by its [Class] what to do: try again, give up, try another host. A context ends anything at any time, and with
// it the connection.
//
// The client never sends a lone CR or LF (RFC 5321 §2.3.8), but in binary mail, where they can't be taken for a line's end.
package smtpclient
