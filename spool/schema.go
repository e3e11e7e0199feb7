package spool

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The tables. What the spool selects by is in columns, the rest of an item in JSON that people can read. The hot path, a message that
// comes and goes, touches one row in each table and one index: the indexes are partial for that.
//
// A body of several chunks is there before its items: it is nobody's until they are committed.
const schema = `
CREATE TABLE IF NOT EXISTS spool_item (
	id       {id},
	message  BIGINT NOT NULL,
	state    SMALLINT NOT NULL,
	priority SMALLINT NOT NULL,
	due      BIGINT NOT NULL,
	lease    BIGINT NOT NULL DEFAULT 0,
	route    {text} NOT NULL,
	data     {text} NOT NULL
);
CREATE INDEX IF NOT EXISTS spool_item_lane ON spool_item (route, priority, due) WHERE state = 0;
CREATE INDEX IF NOT EXISTS spool_item_aside ON spool_item (state, due) WHERE state <> 0;
CREATE INDEX IF NOT EXISTS spool_item_sibling ON spool_item (message) WHERE message <> id;
CREATE TABLE IF NOT EXISTS spool_body (
	{message},
	n       INTEGER NOT NULL,
	bytes   {bytes} NOT NULL{bodykey}
);
CREATE TABLE IF NOT EXISTS spool_version (version INTEGER NOT NULL);
`

const schemaVersion = 1

// columns are those of a row as scanItem reads it.
const columns = "id, message, state, priority, due, lease, route, data"

// checkVersion refuses a spool of a later version than this program's.
func checkVersion(ctx context.Context, conn *sql.Conn) error {
	var version int
	err := conn.QueryRowContext(ctx, "SELECT version FROM spool_version").Scan(&version)
	if err == sql.ErrNoRows {
		_, err = conn.ExecContext(ctx, fmt.Sprintf("INSERT INTO spool_version (version) VALUES (%d)", schemaVersion))
		return err
	}
	if err == nil && version != schemaVersion {
		return fmt.Errorf("the spool has version %d of the tables, this program knows %d: use the program that made it", version, schemaVersion)
	}
	return err
}

// encode is the JSON of an item, without what is in columns.
func encode(it *Item) (string, error) {
	c := *it
	c.ID, c.Message, c.State, c.Priority, c.Due, c.Route = 0, 0, 0, 0, time.Time{}, ""
	b, err := json.Marshal(&c)
	return string(b), err
}

// row is an item as it is in the table.
type row struct {
	item Item // the columns
	due  int64
	data string
}

// scanItem reads the columns of a row.
func scanItem(rows interface{ Scan(...any) error }) (r row, err error) {
	err = rows.Scan(&r.item.ID, &r.item.Message, &r.item.State, &r.item.Priority, &r.due, &r.item.lease, &r.item.Route, &r.data)
	return r, err
}

// decode makes an item of a row. Its error is [ErrDamaged]; then the item has what the columns tell.
func (r *row) decode() (*Item, error) {
	it := r.item
	it.Due = fromMilli(r.due)
	columns := it
	if err := json.Unmarshal([]byte(r.data), &it); err != nil {
		columns.State, columns.Reason = Damaged, "the row can't be read: "+cleanText(err.Error())
		return &columns, fmt.Errorf("%w: item %s: %w", ErrDamaged, columns.ID, err)
	}
	it.ID, it.Message, it.State, it.Priority, it.Due, it.Route = columns.ID, columns.Message, columns.State, columns.Priority, columns.Due, columns.Route
	if it.Size < 0 || it.Chunks < 0 || len(it.Recipients) == 0 {
		columns.State, columns.Reason = Damaged, "the row lacks its recipients or its body"
		return &columns, fmt.Errorf("%w: item %s", ErrDamaged, columns.ID)
	}
	return &it, nil
}

// Times are in milliseconds since 1970, and 0 is the zero Time.
func toMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// many repeats one placeholder group n times: "(?,?),(?,?)".
func many(group string, n int) string {
	return strings.TrimSuffix(strings.Repeat(group+",", n), ",")
}
