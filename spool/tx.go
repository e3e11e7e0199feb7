package spool

import (
	"context"
	"database/sql"
	"database/sql/driver"
)

var errBadConn = driver.ErrBadConn

// tx is the transaction of a writer, with the statements that its connection has prepared.
type tx struct {
	conn  *sql.Conn
	d     dialect
	stmts map[string]*sql.Stmt
	texts map[group]string
}

// group is n rows between the head and the tail of a statement.
type group struct {
	head, row, tail string
	n               int
}

func (t *tx) stmt(query string) (*sql.Stmt, error) {
	if st := t.stmts[query]; st != nil {
		return st, nil
	}
	st, err := t.conn.PrepareContext(context.Background(), t.d.bind(query))
	if err == nil {
		t.stmts[query] = st
	}
	return st, err
}

func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	st, err := t.stmt(query)
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (t *tx) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := t.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

// groups are the numbers of rows that go into one statement: few different ones, so that each is prepared once.
var groups = [...]int{64, 16, 4, 1}

const (
	insertItem = "INSERT INTO spool_item (id, message, state, priority, due, route, data) VALUES "
	insertBody = "INSERT INTO spool_body (message, n, bytes) VALUES "
)

// insert adds messages.
func (t *tx) insert(ctx context.Context, add []*message) error {
	var items, bodies []any
	for _, m := range add {
		if m.body != nil {
			bodies = append(bodies, int64(m.id), int64(0), m.body)
		}
		for i, it := range m.items {
			items = append(items, int64(it.ID), int64(it.Message), int64(it.State), int64(it.Priority), toMilli(it.Due), it.Route, m.data[i])
		}
	}
	if err := t.rows(ctx, insertBody, "(?,?,?)", "", 3, bodies); err != nil {
		return err
	}
	return t.rows(ctx, insertItem, "(?,?,?,?,?,?,?)", "", 7, items)
}

// rows runs a statement for rows of width arguments each, many at a time.
func (t *tx) rows(ctx context.Context, head, row, tail string, width int, args []any) error {
	for _, n := range groups {
		for len(args) >= n*width {
			if _, err := t.exec(ctx, t.text(group{head, row, tail, n}), args[:n*width]...); err != nil {
				return err
			}
			args = args[n*width:]
		}
	}
	return nil
}

func (t *tx) text(g group) string {
	s, ok := t.texts[g]
	if !ok {
		s = g.head + many(g.row, g.n) + g.tail
		t.texts[g] = s
	}
	return s
}

// delete deletes items that are done, and the bodies that no item has any more.
func (t *tx) delete(ctx context.Context, items []*Item) error {
	if len(items) == 0 {
		return nil
	}
	var single, shared []any
	for _, it := range items {
		if it.Items > 1 || t.d.shared() {
			shared = append(shared, int64(it.Message))
		} else if it.Chunks > 0 {
			single = append(single, int64(it.Message))
		}
	}
	if err := t.d.deleteItems(ctx, t, items); err != nil {
		return err
	}
	if err := t.rows(ctx, "DELETE FROM spool_body WHERE message IN (", "?", ")", 1, single); err != nil {
		return err
	}
	return t.rows(ctx, "DELETE FROM spool_body WHERE message IN (", "?", ") AND NOT EXISTS ("+siblings+")", 1, shared)
}

// siblings selects the items that have the body of the row in spool_body.
const siblings = "SELECT 1 FROM spool_item WHERE spool_item.id = spool_body.message" +
	" UNION ALL SELECT 1 FROM spool_item WHERE spool_item.message = spool_body.message AND spool_item.message <> spool_item.id"
