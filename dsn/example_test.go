package dsn_test

import (
	"errors"
	"fmt"
	"io"

	"strings"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/dsn"
)

func Example() {
	from, _ := esmtp.NewPath("alice@example.com", "RET=HDRS ENVID=QQ314159")
	to, _ := esmtp.NewPath("bob@example.org", "NOTIFY=FAILURE")
	message, err := dsn.New(dsn.Report{
		Hostname: "mail.example.com",
		From:     from,
		Recipients: []dsn.Recipient{
			{To: to, Action: dsn.Failed, Reply: esmtp.Deny(550, 5, 1, 1, "no such user"), RemoteMTA: "mx.example.org"},
		},
	}, strings.NewReader("Subject: lunch\r\n\r\nToday?\r\n"))
	if errors.Is(err, dsn.ErrNobody) {
		return
	}
	fmt.Printf("from <%s> to <%s>\n", message.From, message.To)
	if _, err := message.WriteTo(io.Discard); err != nil {
		fmt.Println(err)
	}
	// Output: from <> to <alice@example.com>
}
