package queue_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The code in the Go guide is that of the example, which runs.
func TestTheGuideHasTheExample(t *testing.T) {
	guide, err := os.ReadFile("../../docs/go.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(guide), "\n## What becomes of a message\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)\n```go\n(.*?\n)```\n").FindAllStringSubmatch(section, -1)
	if len(blocks) != 4 {
		t.Fatalf("got %d pieces of code", len(blocks))
	}
	for _, block := range blocks {
		if !strings.Contains(string(example), "\n"+block[1]+"\n") {
			t.Errorf("the example has no\n%s", block[1])
		}
	}
}
