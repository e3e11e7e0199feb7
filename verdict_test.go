package esmtp

import "testing"

// What became of a message that was dropped without a word, or that failed, is not what the verdict asked for.
func TestOutcomeIsWhatTheClientWasTold(t *testing.T) {
	quarantine := Verdict{Disposition: Quarantine, Reply: Deny(550, 5, 7, 1, "no")}
	for _, test := range []struct {
		v    Verdict
		r    Reply
		want string
	}{
		{Verdict{}, OK(), "accepted"},
		{Verdict{Disposition: Held}, OK(), "held"},
		{Verdict{Disposition: Held}, Drop, "refused_temporarily"},
		{Verdict{Disposition: Held}, replyLocalError, "refused_temporarily"},
		{quarantine, Deny(550, 5, 7, 1, "no"), "quarantined"},
		{quarantine, replyLocalError, "refused_temporarily"},
		{Verdict{Disposition: Consumed, Reply: Drop}, Drop, "consumed"},
	} {
		if got := test.v.Outcome(test.r); got != test.want {
			t.Errorf("%v, %v: got %s, want %s", test.v, test.r, got, test.want)
		}
	}
}
