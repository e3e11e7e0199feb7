package metrics

import (
	"context"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

// A server that is gone is not kept, though nobody ever asked for the metrics.
func TestServersThatAreGoneAreForgotten(t *testing.T) {
	m := New("esmtp")
	for range 5 {
		srv := &esmtp.Server{Observer: m.Observer("mx")}
		esmtptest.NewServer(t, srv).Dial().Run("S: 220 *\nC: QUIT\nS: 221 *\nclose\nleave")
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.live); n != 1 {
		t.Errorf("%d servers are kept, want 1", n)
	}
}
