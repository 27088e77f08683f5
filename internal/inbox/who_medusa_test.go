package inbox

import (
	"cmp"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// medusaHands work on Medusa's own table.
type medusaHands struct {
	db  *pgxpool.Pool
	ctx context.Context
}

func (h *medusaHands) look() ([]held, error) {
	rows, err := h.db.Query(h.ctx, `select id, coalesce(email, ''), coalesce(first_name, ''), coalesce(metadata ->> 'clerk_user_id', ''), has_account, true,
		concat_ws('|', last_name, phone, company_name, has_account, metadata - 'clerk_user_id' - 'clerk_user_deleted', created_by)
		from medusa.customer where deleted_at is null order by created_at, id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c held, err error) {
		return c, row.Scan(&c.id, &c.email, &c.first, &c.mark, &c.account, &c.tidy, &c.rest)
	})
}

func (h *medusaHands) checkOut(email string, account bool, n int) (id string, err error) {
	err = h.db.QueryRow(h.ctx, `insert into medusa.customer (id, email, first_name, has_account, company_name, metadata)
		values ('cus_' || gen_random_uuid(), $1, 'Guest', $2, 'Owls Ltd', jsonb_build_object('loyalty', $3::int)) returning id`, email, account, n).Scan(&id)
	return id, err
}

func (h *medusaHands) exec(sql string, args ...any) error {
	_, err := h.db.Exec(h.ctx, sql, args...)
	return err
}

func (h *medusaHands) setEmail(id, email string) error {
	return h.exec(`update medusa.customer set email = nullif($2, ''), updated_at = now() where id = $1`, id, email)
}

func (h *medusaHands) setRest(id string, n int) error {
	return h.exec(`update medusa.customer set company_name = 'Company ' || $2::int, metadata = coalesce(metadata, '{}') || jsonb_build_object('loyalty', $2::int), updated_at = now() where id = $1`, id, n)
}

func (h *medusaHands) remove(id string) error {
	return h.exec(`update medusa.customer set deleted_at = now(), updated_at = now() where id = $1`, id)
}

// apiHands work in an emulated Medusa.
type apiHands struct{ *emulator.Medusa }

func (h *apiHands) look() (all []held, err error) {
	for _, c := range h.Customers() {
		mark, _ := c.Metadata["clerk_user_id"].(string)
		delete(c.Metadata, "clerk_user_id")
		delete(c.Metadata, "clerk_user_deleted")
		all = append(all, held{id: c.ID, email: orEmpty(c.Email), first: orEmpty(c.FirstName), mark: mark, account: c.HasAccount, tidy: true,
			rest: fmt.Sprint(orEmpty(c.LastName), orEmpty(c.Phone), orEmpty(c.CompanyName), c.HasAccount, c.Metadata)})
	}
	return all, nil
}

func orEmpty(s *string) string { return *cmp.Or(s, new("")) }

func (h *apiHands) checkOut(email string, account bool, n int) (string, error) {
	c, err := h.PutCustomer(emulator.MedusaSpec{Email: email, FirstName: "Guest", HasAccount: account, Identity: account, CompanyName: "Owls Ltd",
		Metadata: map[string]any{"loyalty": n}})
	return c.ID, err
}

func (h *apiHands) setEmail(id, email string) error {
	_, err := h.EditCustomer(id, emulator.MedusaEdit{Email: &email})
	return err
}

func (h *apiHands) setRest(id string, n int) error {
	c, err := h.Customer(id)
	if err != nil {
		return err
	}
	if c.Metadata == nil {
		c.Metadata = map[string]any{}
	}
	name := fmt.Sprint("Company ", n)
	c.Metadata["loyalty"] = n
	_, err = h.EditCustomer(id, emulator.MedusaEdit{CompanyName: &name, Metadata: &c.Metadata})
	return err
}

func (h *apiHands) remove(id string) error { return h.DeleteCustomer(id) }
