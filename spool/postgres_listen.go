package spool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// One connection listens for what other processes commit, and its locks are this process's number in the IDs.

const channel = "esmtp_spool"

// start implements [dialect].
func (d *postgresDialect) start(s *store) error {
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := d.listen(ctx)
	if err != nil {
		cancel()
		return err
	}
	if err := d.refresh(ctx); err != nil {
		cancel()
		conn.Close(context.Background())
		return err
	}
	s.wg.Go(func() {
		<-s.stop
		cancel()
	})
	s.wg.Go(func() { d.tell(ctx) })
	s.wg.Go(func() { d.watch(ctx, conn) })
	return nil
}

// listen makes the connection that listens, and takes the first free number.
func (d *postgresDialect) listen(ctx context.Context) (*pgx.Conn, error) {
	pooled, err := d.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	conn := pooled.Hijack()
	if _, err = conn.Exec(ctx, "LISTEN "+channel); err == nil {
		err = d.takeNode(ctx, conn)
	}
	if err != nil {
		conn.Close(context.Background())
		return nil, err
	}
	return conn, nil
}

func (d *postgresDialect) takeNode(ctx context.Context, conn *pgx.Conn) error {
	for n := range 1 << idNodeBits {
		var free bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", postgresLock, n).Scan(&free); err != nil {
			return err
		}
		if free {
			d.s.ids.mu.Lock()
			d.s.ids.node = int64(n)
			d.s.ids.mu.Unlock()
			return nil
		}
	}
	return fmt.Errorf("more than %d processes share this spool", 1<<idNodeBits)
}

// watch looks at the queue every second, and when it is told to, but not all the time.
func (d *postgresDialect) watch(ctx context.Context, conn *pgx.Conn) {
	for ctx.Err() == nil {
		if conn == nil {
			var err error
			if conn, err = d.listen(ctx); err != nil {
				sleep(ctx, pollInterval)
				continue
			}
			d.s.log.Info("spool: PostgreSQL is there again")
		}
		wait, cancel := context.WithTimeout(ctx, pollInterval)
		n, err := conn.WaitForNotification(wait)
		cancel()
		if n != nil && n.PID == conn.PgConn().PID() {
			continue
		}
		if err != nil && (conn.IsClosed() || !errors.Is(err, context.DeadlineExceeded)) && ctx.Err() == nil {
			d.s.log.Error("spool: lost PostgreSQL", "error", err)
			conn.Close(context.Background())
			conn = nil
			continue
		}
		if err := d.refresh(ctx); err != nil && ctx.Err() == nil {
			d.s.log.Error("spool: can't look at the queue", "error", err)
		}
		sleep(ctx, pollLeast)
	}
	if conn != nil {
		conn.Close(context.Background())
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// postgresLanes jumps from lane to lane in the index.
const postgresLanes = `
WITH RECURSIVE lane (route, priority, due) AS (
	(SELECT route, priority, due FROM spool_item WHERE state = 0 ORDER BY route, priority, due LIMIT 1)
	UNION ALL
	SELECT n.route, n.priority, n.due FROM lane, LATERAL (
		SELECT route, priority, due FROM spool_item WHERE state = 0 AND (route, priority) > (lane.route, lane.priority)
		ORDER BY route, priority, due LIMIT 1) AS n
) SELECT route, priority, due FROM lane`

// refresh tells the lanes what is queued.
func (d *postgresDialect) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, postgresLimit)
	defer cancel()
	rows, err := d.pool.Query(ctx, postgresLanes)
	if err != nil {
		return err
	}
	type found struct {
		key laneKey
		due int64
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f found, err error) {
		err = row.Scan(&f.key.route, &f.key.priority, &f.due)
		return f, err
	})
	if err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	l := d.s.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	due := false
	for _, f := range all {
		l.addLocked(f.key, position{due: f.due})
		due = due || f.due <= now
	}
	if due {
		l.signal()
	}
	return nil
}

// committed implements [dialect]: it has the others look.
func (d *postgresDialect) committed() {
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// tell tells the other processes that there is something, a few times a second at most: a notification in each transaction would make all
// of them wait for each other.
func (d *postgresDialect) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.news:
		}
		d.pool.Exec(ctx, "SELECT pg_notify($1, '')", channel) // they look every second anyway
		sleep(ctx, pollLeast)
	}
}
