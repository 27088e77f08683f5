package postgres

import (
	"context"
	"fmt"
	"time"
)

// forgetDeliveriesSQL deletes the oldest deliveries of each source, but for its
// newest: when that came must stay known.
const forgetDeliveriesSQL = `
	delete from lockstep.deliveries d using (
	  select o.source, o.id
	    from (select source, max(received_at) as newest from lockstep.deliveries group by source) s
	   cross join lateral (select d.source, d.id from lockstep.deliveries d
	          where d.source = s.source and d.received_at < least(s.newest, now() - $1::interval)
	          order by d.received_at limit $2) o) old
	 where d.source = old.source and d.id = old.id`

// forgetHistorySQL looks at the oldest rows only: ids grow with time.
const forgetHistorySQL = `
	delete from lockstep.history h using (
	  select id from (select id, at from lockstep.history order by id limit $2) oldest where at < now() - $1::interval) old
	 where h.id = old.id`

// ForgetDeliveries deletes at most limit deliveries per source that are older
// than age, and reports how many. Each call is a transaction of its own.
func (s *Store) ForgetDeliveries(ctx context.Context, age time.Duration, limit int) (int64, error) {
	return s.forget(ctx, forgetDeliveriesSQL, age, limit)
}

// ForgetHistory deletes at most limit entries of the history that are older
// than age, and reports how many. What a link is now and why, it keeps.
func (s *Store) ForgetHistory(ctx context.Context, age time.Duration, limit int) (int64, error) {
	return s.forget(ctx, forgetHistorySQL, age, limit)
}

func (s *Store) forget(ctx context.Context, sql string, age time.Duration, limit int) (int64, error) {
	tag, err := s.pool.Exec(ctx, sql, age, limit)
	if err != nil {
		return 0, fmt.Errorf("forget what is old: %w", Redact(err))
	}
	return tag.RowsAffected(), nil
}
