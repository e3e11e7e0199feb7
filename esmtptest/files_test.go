package esmtptest_test

import (
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

func TestDialogueFiles(t *testing.T) {
	esmtptest.RunFiles(t, "testdata/*.smtp", func(string) *esmtp.Server { return &esmtp.Server{Hostname: "mx.example.org"} })
}
