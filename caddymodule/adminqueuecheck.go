package caddymodule

import (
	"context"
	"net/http"
	"net/url"
	"sync"

	"github.com/caddy-esmtp/esmtp/spool"
)

// checkView is what a check found.
type checkView struct {
	Items   int64      `json:"items"`   // looked at
	Damaged []spool.ID `json:"damaged"` // set aside
	Orphans int        `json:"orphans"` // bodies that were nobody's, deleted
}

// checkSpool reads a whole spool.
func checkSpool(ctx context.Context, s spool.Spool) (checkView, error) {
	report, err := s.Check(ctx)
	return checkView{report.Items, append([]spool.ID{}, report.Damaged...), report.Orphans}, err
}

// checking is held while a spool is being checked: that reads all of it.
var checking sync.Mutex

// check is POST /esmtp/queues/{name}/check.
func (q *liveQueue) check(w http.ResponseWriter, r *http.Request, _ url.Values) error {
	if err := readOrder(w, r, new(struct{})); err != nil {
		return err
	}
	if !checking.TryLock() {
		return apiError(http.StatusConflict, "esmtp: a spool is being checked already")
	}
	defer checking.Unlock()
	view, err := checkSpool(r.Context(), q.live.shared)
	if err != nil {
		return spoolError(err)
	}
	return writeJSON(w, http.StatusOK, view)
}
