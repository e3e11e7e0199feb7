package spool

import (
	"context"
	"time"
)

// Stats implements [Spool]. It reads indexes only.
func (s *store) Stats(ctx context.Context, top int) (Stats, error) {
	st := Stats{Count: map[State]int64{}, Oldest: map[State]time.Time{}, Full: s.full.Load()}
	for _, query := range []string{
		"SELECT 0, count(*), coalesce(min(id), 0) FROM spool_item WHERE state = 0 HAVING count(*) > 0",
		"SELECT state, count(*), min(id) FROM spool_item WHERE state <> 0 GROUP BY state",
	} {
		rows, err := s.db.QueryContext(ctx, query)
		if err != nil {
			return st, err
		}
		for rows.Next() {
			var state State
			var n int64
			var oldest ID
			if err = rows.Scan(&state, &n, &oldest); err != nil {
				break
			}
			st.Count[state], st.Oldest[state] = n, oldest.Time()
		}
		if rows.Close(); err == nil {
			err = rows.Err()
		}
		if err != nil {
			return st, err
		}
	}
	sending, err := s.dialect.sending(ctx, s)
	if err != nil {
		return st, err
	}
	sending = min(sending, st.Count[Queued])
	if sending > 0 {
		st.Count[Sending] = sending
		st.Count[Queued] -= sending
	}
	if top > 0 {
		st.Routes, err = s.topRoutes(ctx, top)
	}
	return st, err
}

func (s *store) topRoutes(ctx context.Context, top int) (routes []RouteStats, err error) {
	query := s.dialect.bind("SELECT route, count(*), min(id) FROM spool_item WHERE state = 0 GROUP BY route ORDER BY 2 DESC, 1 LIMIT ?")
	rows, err := s.db.QueryContext(ctx, query, top)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r RouteStats
		var oldest ID
		if err := rows.Scan(&r.Route, &r.Queued, &oldest); err != nil {
			return nil, err
		}
		r.Oldest = oldest.Time()
		routes = append(routes, r)
	}
	return routes, rows.Err()
}
