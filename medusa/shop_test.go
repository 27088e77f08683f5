package medusa_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lockstephq/lockstep/targettest"
)

// shop is Medusa at work on its own table, past every function of ours.
type shop struct {
	db    *pgxpool.Pool
	table string
}

const company = "company" // the foreign field that is a column; others are metadata

func (s shop) Put(ctx context.Context, r targettest.Record) (targettest.Record, error) {
	r.ID = "cus_" + rand.Text()
	_, err := s.db.Exec(ctx, `insert into `+s.table+` (id) values ($1)`, r.ID)
	if err == nil {
		err = s.Edit(ctx, r)
	}
	if err != nil {
		return targettest.Record{}, err
	}
	made, _, err := s.Get(ctx, r.ID)
	return made, err
}

func (s shop) Edit(ctx context.Context, r targettest.Record) error {
	metadata := maps.Clone(r.Foreign)
	delete(metadata, company)
	if r.UserID != "" {
		if metadata == nil {
			metadata = map[string]string{}
		}
		metadata["clerk_user_id"] = r.UserID
	}
	_, err := s.db.Exec(ctx, `update `+s.table+` set email = nullif($2, ''), first_name = nullif($3, ''),
		last_name = nullif($4, ''), phone = nullif($5, ''), has_account = $6, company_name = nullif($7, ''),
		metadata = $8, updated_at = now() where id = $1 and deleted_at is null`,
		r.ID, r.Email, r.FirstName, r.LastName, r.Phone, r.Account, r.Foreign[company], metadata)
	return err
}

func (s shop) Get(ctx context.Context, id string) (targettest.Record, bool, error) {
	all, err := s.read(ctx, `id = $1`, id)
	if err != nil || len(all) == 0 {
		return targettest.Record{}, false, err
	}
	return all[0], true, nil
}

func (s shop) Live(ctx context.Context) ([]targettest.Record, error) { return s.read(ctx, `true`) }

// Delete is soft, as Medusa's is.
func (s shop) Delete(ctx context.Context, id string) error {
	tag, err := s.db.Exec(ctx, `update `+s.table+` set deleted_at = now(), updated_at = now() where id = $1`, id)
	if err == nil && tag.RowsAffected() != 1 {
		err = fmt.Errorf("no customer %s", id)
	}
	return err
}

// read tells every write by the version: xmin is the writing transaction.
func (s shop) read(ctx context.Context, where string, args ...any) ([]targettest.Record, error) {
	rows, err := s.db.Query(ctx, `select id, coalesce(metadata ->> 'clerk_user_id', ''), coalesce(email, ''),
		coalesce(first_name, ''), coalesce(last_name, ''), coalesce(phone, ''), has_account,
		coalesce(company_name, ''), metadata - 'clerk_user_deleted', updated_at::text || ' ' || xmin::text
		from `+s.table+` where deleted_at is null and `+where+` order by created_at, id`, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanRecord)
}

func scanRecord(row pgx.CollectableRow) (r targettest.Record, err error) {
	var name string
	err = row.Scan(&r.ID, &r.UserID, &r.Email, &r.FirstName, &r.LastName, &r.Phone, &r.Account,
		&name, &r.Foreign, &r.Version)
	delete(r.Foreign, "clerk_user_id")
	if name != "" {
		if r.Foreign == nil {
			r.Foreign = map[string]string{}
		}
		r.Foreign[company] = name
	}
	return r, err
}
