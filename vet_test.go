package esmtp_test

import (
	"strings"
	"testing"

	"github.com/caddy-esmtp/esmtp"
	"github.com/caddy-esmtp/esmtp/esmtptest"
)

type vetCase struct{ esmtp.Default }

func (vetCase) Mail(*esmtp.Session, esmtp.Path) esmtp.Reply { return esmtp.Reply{} }

type vetSwapped struct{ esmtp.Default }

func (*vetSwapped) RCTP(*esmtp.Session, esmtp.Path) esmtp.Reply { return esmtp.Reply{} }

type vetMissing struct{ esmtp.Default }

func (vetMissing) HEADR(*esmtp.Session, string, string) esmtp.Reply { return esmtp.Reply{} }

type vetExtra struct{ esmtp.Default }

func (vetExtra) BODYY(*esmtp.Session, []byte) esmtp.Reply { return esmtp.Reply{} }

type vetClose struct{ esmtp.Default }

func (vetClose) Close(*esmtp.Session, error) {}

// vetFine has methods that only resemble verbs.
type vetFine struct{ esmtp.Default }

func (vetFine) Mail() string                        { return "" }
func (vetFine) Data(int) error                      { return nil }
func (vetFine) Greylist(*esmtp.Session) esmtp.Reply { return esmtp.Reply{} }
func (vetFine) RCPT(s *esmtp.Session, to esmtp.Path) esmtp.Reply {
	return esmtp.Default{}.RCPT(s, to)
}

type vetLayer struct{ esmtp.Handler }
type vetDeep struct{ *vetLayer }

// A misspelt override would never be called: Vet says which method was meant.
func TestVet(t *testing.T) {
	for _, test := range []struct {
		name string
		h    esmtp.Handler
		want []string // in the error; none: no error
	}{
		{"Default", esmtp.Default{}, nil},
		{"methods of one's own", vetFine{}, nil},
		{"a pointer", &vetFine{}, nil},
		{"another case", vetCase{}, []string{"vetCase", "Mail", "MAIL"}},
		{"two letters swapped", &vetSwapped{}, []string{"RCTP", "RCPT"}},
		{"one missing", vetMissing{}, []string{"HEADR", "HEADER"}},
		{"one too many", vetExtra{}, []string{"BODYY", "BODY"}},
		{"one missing at the end", vetClose{}, []string{"Close", "Closed"}},
		{"behind a layer", &vetLayer{&vetLayer{vetCase{}}}, []string{"vetCase", "MAIL"}},
		{"behind a pointer to a layer", vetDeep{&vetLayer{vetCase{}}}, []string{"vetCase", "MAIL"}},
		{"a layer of nothing", &vetLayer{}, []string{"nil"}},
		{"deep down", &vetLayer{&vetLayer{}}, []string{"nil"}},
		{"nil", nil, []string{"nil"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := esmtp.Vet(test.h)
			if (err == nil) != (test.want == nil) {
				t.Fatalf("got %v, want an error: %v", err, test.want != nil)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

// Serve doesn't begin with a handler that can't be meant.
func TestServeVets(t *testing.T) {
	srv := &esmtp.Server{NewHandler: func(*esmtp.Session) esmtp.Handler { return vetCase{} }}
	if err := srv.Serve(esmtptest.Listen()); err == nil || !strings.Contains(err.Error(), "did you mean MAIL?") {
		t.Errorf("got %v, want it to name MAIL", err)
	}
}
