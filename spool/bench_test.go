//go:build unix

package spool

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCommit puts messages of 4 KiB into the spool: run it with -benchtime=20000x.
func BenchmarkCommit(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchmarkCommit(b, func(b *testing.B) string { return b.TempDir() }) })
	b.Run("postgres", func(b *testing.B) { benchmarkCommit(b, func(b *testing.B) string { return postgresURL(b) }) })
}

func benchmarkCommit(b *testing.B, url func(*testing.B) string) {
	text := bytes.Repeat([]byte("0123456789abcde\n"), 256)
	for _, n := range []int{1, 16, 128} {
		for _, deliver := range []bool{false, true} {
			b.Run(fmt.Sprintf("sessions=%d/delivered=%v", n, deliver), func(b *testing.B) {
				s := openTest(b, url(b), &Options{Logger: slog.New(slog.DiscardHandler)})
				var left, gone atomic.Int64
				left.Store(int64(b.N))
				start := cpu()
				b.ResetTimer()
				var wg sync.WaitGroup
				for range n {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							d := s.Create()
							d.Write(text)
							if _, err := d.Commit(b.Context(), newItem("example.net", 1)); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				if deliver {
					for range 1 {
						wg.Go(func() {
							for gone.Load() < int64(b.N) {
								ready := s.Ready()
								items, err := s.Lease(b.Context(), LeaseOptions{Max: 100})
								if err != nil {
									b.Error(err)
									return
								}
								for _, it := range items {
									r, err := s.OpenBody(b.Context(), it)
									if err != nil {
										b.Error(err)
										return
									}
									r.Close()
									it.Recipients[0].State, it.State = Accepted, Delivered
									if err := s.Settle(b.Context(), it); err != nil {
										b.Error(err)
									}
									gone.Add(1)
								}
								if len(items) == 0 {
									select {
									case <-ready:
									case <-time.After(10 * time.Millisecond):
									}
								}
							}
						})
					}
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
				b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-us/msg")
			})
		}
	}
}
