package esmtp

// Layer makes the layer of one connection: a Handler that embeds next, overrides what it needs, and leaves the rest to next.
type Layer func(s *Session, next Handler) Handler

// Stack puts layers on top of each other, the first one outermost, above a [Default]. Its result is a [Server.NewHandler].
//
//	srv := &esmtp.Server{NewHandler: esmtp.Stack(greylist.NewLayer, maildir.NewLayer)}
func Stack(layers ...Layer) func(*Session) Handler {
	return func(s *Session) Handler {
		var h Handler = Default{}
		for i := len(layers) - 1; i >= 0; i-- {
			h = layers[i](s, h)
		}
		return h
	}
}
