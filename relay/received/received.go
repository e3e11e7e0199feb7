// Package received counts the Received fields of a message as it streams by. Each server that takes a message puts one on top; a message
// with too many goes round in circles (RFC 5321 §6.3).
//
//	var hops received.Counter
//	io.Copy(&hops, message)
//	if hops.Count() > received.Limit { … 554 5.4.6 … }
package received

// Limit is how many Received fields a message may have; RFC 5321 §6.3 asks for at least 100.
const Limit = 100

// Counter counts the Received fields in what is written to it, a message or its header; what follows the header is not looked at. The zero
// Counter is ready, and holds no octet of the message. It is for one goroutine.
type Counter struct {
	count int
	col   int  // octets of the line so far, up to where it is decided
	lost  bool // the line is no Received field
	body  bool
}

const name = "received:"

// Write counts the fields in p. It takes all of p, whatever it is.
func (c *Counter) Write(p []byte) (int, error) {
	for _, b := range p {
		if c.body {
			break
		}
		c.next(b)
	}
	return len(p), nil
}

// next reads one octet. A line ends with LF, whether CR is before it or not: a message that went through a lenient server counts too.
func (c *Counter) next(b byte) {
	switch {
	case b == '\n':
		c.body = c.col == 0
		c.col, c.lost = 0, false
	case b == '\r' && c.col == 0: // perhaps the empty line
	case c.lost:
	case c.col == len(name)-1 && (b == ' ' || b == '\t'): // RFC 5322 §4.5: "Received :"
	case lower(b) == name[c.col]:
		if c.col++; c.col == len(name) {
			c.count++
			c.lost = true
		}
	default:
		c.col, c.lost = 1, true
	}
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + ('a' - 'A')
	}
	return b
}

// Count returns how many there were so far.
func (c *Counter) Count() int { return c.count }
