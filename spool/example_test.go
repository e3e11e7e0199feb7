package spool_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/caddy-esmtp/esmtp/spool"
)

// A message for two destinations comes in, and goes out to one of them.
func Example() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	s, err := spool.Open(ctx, "sqlite://"+dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	draft := s.Create()
	io.WriteString(draft, "Subject: hello\r\n\r\nhello\r\n")
	to := func(address, domain string) *spool.Item {
		return &spool.Item{
			Sender:     spool.Path{Address: "ann@example.org"},
			Recipients: []spool.Recipient{{Path: spool.Path{Address: address, Params: "NOTIFY=FAILURE"}}},
			Route:      domain,
		}
	}
	ids, err := draft.Commit(ctx, to("bob@example.net", "example.net"), to("eve@example.com", "example.com"))
	if err != nil {
		log.Fatal(err) // 451, or 452 if errors.Is(err, spool.ErrFull)
	}
	fmt.Println(len(ids), "items are on disk: 250")

	items, err := s.Lease(ctx, spool.LeaseOptions{Exclude: map[string]struct{}{"example.com": {}}})
	if err != nil {
		log.Fatal(err)
	}
	for _, item := range items {
		body, err := s.OpenBody(ctx, item)
		if err != nil {
			log.Fatal(err)
		}
		text, _ := io.ReadAll(body)
		body.Close()
		fmt.Printf("deliver %d octets to %s\n", len(text), item.Recipients[0].Address)
		item.Recipients[0].State = spool.Accepted
		item.State = spool.Delivered
		if err := s.Settle(ctx, item); err != nil {
			log.Fatal(err)
		}
	}

	waiting, _, err := s.List(ctx, spool.Filter{Recipient: "*@example.com"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("still", waiting[0].State, "for", waiting[0].Route)
	// Output:
	// 2 items are on disk: 250
	// deliver 25 octets to bob@example.net
	// still queued for example.com
}
