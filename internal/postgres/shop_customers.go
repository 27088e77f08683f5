package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ShopCustomer is a customer of a shop as an export showed it. Empty texts and
// zero times are null.
type ShopCustomer struct {
	ID             string
	UserID         string // whose mark it carries
	Email          string
	Phone          string
	FirstName      string
	LastName       string
	State          string
	Locale         string
	Verified       bool
	Tags           []string
	EmailConsent   string
	EmailConsentAt time.Time
	SMSConsent     string
	SMSConsentAt   time.Time
	Unproven       []string // of "email", "phone", "name": may only seem to be empty
	CreatedAt      time.Time
	UpdatedAt      time.Time // Shopify's, to the second: the newer version wins
}

// The columns of lockstep.shopify_customers that an export fills, beside those of
// the shop and of the time.
var shopColumns = []string{"shopify_customer_id", "clerk_user_id", "email", "phone", "first_name", "last_name", "state", "locale", "verified_email",
	"tags", "email_consent", "email_consent_at", "sms_consent", "sms_consent_at", "unproven", "created_at", "updated_at"}

func (c *ShopCustomer) values() []any {
	return []any{c.ID, orNull(c.UserID), orNull(c.Email), orNull(c.Phone), orNull(c.FirstName), orNull(c.LastName), orNull(c.State), orNull(c.Locale), c.Verified,
		textArray(c.Tags), orNull(c.EmailConsent), orNull(c.EmailConsentAt), orNull(c.SMSConsent), orNull(c.SMSConsentAt), textArray(c.Unproven),
		orNull(c.CreatedAt), orNull(c.UpdatedAt)}
}

func textArray(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// A chunk of an export goes into a temporary table by COPY, and from there to its
// place by one statement; see stagingSQL.
const stageShopSQL = `create temp table incoming_customers (
	shopify_customer_id text not null, clerk_user_id text, email text, phone text, first_name text, last_name text, state text, locale text,
	verified_email boolean, tags text[] not null, email_consent text, email_consent_at timestamptz, sms_consent text, sms_consent_at timestamptz,
	unproven text[] not null, created_at timestamptz, updated_at timestamptz) on commit drop`

const mergeShopSQL = `
insert into lockstep.shopify_customers as c (shopify_shop, shopify_customer_id, clerk_user_id, email, phone, first_name, last_name, state, locale,
       verified_email, tags, email_consent, email_consent_at, sms_consent, sms_consent_at, unproven, created_at, updated_at, captured_at)
select $1, i.*, $2 from (select distinct on (shopify_customer_id) * from incoming_customers
                          where shopify_customer_id <> all($3::text[])
                          order by shopify_customer_id, updated_at desc nulls last) i` + renewSQL

// MergeShopCustomers stores customers of a shop that a read showed which began at
// a time by the database's clock, newer over older, and says how many rows that
// changed. Merging them again changes nothing. Customers who are to be forgotten
// are left out; ErrDisconnected if the shop was disconnected meanwhile.
func (s *Store) MergeShopCustomers(ctx context.Context, tx pgx.Tx, shop string, began time.Time, customers []ShopCustomer) (changed int, err error) {
	if len(customers) == 0 {
		return 0, nil
	}
	read := Changed{Target: "shopify:" + shop, IDs: make([]string, len(customers))}
	for i, c := range customers {
		read.IDs[i] = c.ID
	}
	forgotten, disconnected, err := s.MayCapture(ctx, tx, read)
	if err != nil {
		return 0, err
	}
	if disconnected {
		return 0, ErrDisconnected
	}
	if _, err := tx.Exec(ctx, stageShopSQL); err != nil {
		return 0, fmt.Errorf("stage customers: %w", err)
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"incoming_customers"}, shopColumns, pgx.CopyFromSlice(len(customers), func(i int) ([]any, error) {
		return customers[i].values(), nil
	}))
	if err != nil {
		return 0, fmt.Errorf("copy customers: %w", err)
	}
	tag, err := tx.Exec(ctx, mergeShopSQL, shop, began, textArray(forgotten))
	if err != nil {
		return 0, fmt.Errorf("merge customers: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// CountShopCustomers counts the customers of a shop that were not deleted, as far
// as they were captured.
func (s *Store) CountShopCustomers(ctx context.Context, shop string) (n int, err error) {
	err = s.pool.QueryRow(ctx, `select count(*) from lockstep.shopify_customers where shopify_shop = $1 and deleted_at is null`, shop).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count customers: %w", err)
	}
	return n, nil
}
