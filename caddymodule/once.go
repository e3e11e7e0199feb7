package caddymodule

import "fmt"

// givenSetting is a setting of a block, which is known by what it is read into.
type givenSetting struct {
	block any // a pointer
	name  string
}

// lists are the settings that can stand in a block more than once: each line adds to what is there.
var lists = map[string]bool{
	"limits": true, "timeouts": true, "rates": true, "tolerate_params": true, "xclient": true, "xforward": true, // of a server
	"next_hop": true, "route": true, "login": true, "dns": true, // of a queue
}

// once notes that the current token is a setting of a block. One that is there already would be ignored, and is an error.
func (p *parser) once(block any) error {
	key := givenSetting{block, p.Val()}
	if lists[key.name] {
		return nil
	}
	if place, ok := p.given[key]; ok {
		return p.Errf("%s is given already at %s", key.name, place)
	}
	if p.given == nil {
		p.given = make(map[givenSetting]string)
	}
	p.given[key] = fmt.Sprintf("%s:%d", p.File(), p.Line())
	return nil
}
