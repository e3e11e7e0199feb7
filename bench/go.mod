module github.com/caddy-esmtp/esmtp/bench

go 1.26.0

replace github.com/caddy-esmtp/esmtp => ../

require (
	github.com/caddy-esmtp/esmtp v0.0.0-00010101000000-000000000000
	github.com/emersion/go-smtp v0.25.1
	golang.org/x/sys v0.49.0
)

require (
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6 // indirect
	github.com/xdg-go/scram v1.4.0 // indirect
	github.com/xdg-go/stringprep v1.0.4 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)
