package medusa_test

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lockstephq/lockstep/targettest"
)

// accountShop is a shop whose accounts are those of users who sign in. The mark
// on an account is a shopper's scribble there.
type accountShop struct {
	shop
	schema string // quoted
}

func (s accountShop) Put(ctx context.Context, r targettest.Record) (targettest.Record, error) {
	bare := r
	if r.Account {
		bare.UserID = ""
	}
	made, err := s.shop.Put(ctx, bare)
	if err == nil && r.Account && r.UserID != "" {
		err = s.signIn(ctx, made.ID, "clerk", r.UserID)
	}
	if err != nil {
		return targettest.Record{}, err
	}
	made, _, err = s.Get(ctx, made.ID)
	return made, err
}

// Edit leaves the sign-in as it is.
func (s accountShop) Edit(ctx context.Context, r targettest.Record) error {
	if r.Account {
		r.UserID = ""
	}
	return s.shop.Edit(ctx, r)
}

func (s accountShop) Get(ctx context.Context, id string) (targettest.Record, bool, error) {
	r, live, err := s.shop.Get(ctx, id)
	if err != nil || !live {
		return r, live, err
	}
	all := []targettest.Record{r}
	err = s.identify(ctx, all)
	return all[0], true, err
}

func (s accountShop) Live(ctx context.Context) ([]targettest.Record, error) {
	all, err := s.shop.Live(ctx)
	if err != nil {
		return nil, err
	}
	return all, s.identify(ctx, all)
}

// signIn lets somebody sign in as the customer, as Medusa's auth providers do.
func (s accountShop) signIn(ctx context.Context, customer, provider, entity string) error {
	_, err := s.db.Exec(ctx, `with a as (
			insert into `+s.schema+`.auth_identity (id, app_metadata)
			values ('authid_' || $1::text || $2::text, jsonb_build_object('customer_id', $1::text)) returning id)
		insert into `+s.schema+`.provider_identity (id, entity_id, provider, auth_identity_id)
		select id, $3, $2, id from a`, customer, provider, entity)
	return err
}

// identify replaces what the records say of their users by who signs in.
func (s accountShop) identify(ctx context.Context, all []targettest.Record) error {
	rows, err := s.db.Query(ctx, `select a.app_metadata ->> 'customer_id',
			coalesce(min(p.entity_id) filter (where p.provider = 'clerk'), ''), string_agg(p.xmin::text || a.xmin::text, ' ')
		from `+s.schema+`.provider_identity p join `+s.schema+`.auth_identity a on a.id = p.auth_identity_id
		where a.app_metadata ? 'customer_id' group by 1`)
	if err != nil {
		return err
	}
	owner, version := map[string]string{}, map[string]string{}
	var id, user, written string
	_, err = pgx.ForEachRow(rows, []any{&id, &user, &written}, func() error {
		owner[id], version[id] = user, written
		return nil
	})
	for i := range all {
		r := &all[i]
		r.Version += " " + version[r.ID]
		if user := owner[r.ID]; user != "" {
			r.UserID, r.Proven = user, true
		} else if r.Account {
			r.UserID = ""
		}
	}
	return err
}
