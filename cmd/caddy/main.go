// Command caddy is Caddy with the esmtp app built in.
package main

import (
	_ "time/tzdata" // as in Caddy's own build

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-esmtp/esmtp/caddymodule"
)

func main() {
	caddycmd.Main()
}
