package medusa

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/lockstephq/lockstep"
)

// Querier is what a Database needs of a connection; *pgxpool.Pool has it, in
// any query execution mode.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Database is the target that writes Medusa's customers by SQL.
type Database struct {
	db       Querier
	accounts bool
	deletes  bool // the policy for customers of deleted users
}

// NewDatabase uses db, which stays the caller's to close. Its role must own the
// functions that `lockstep migrate up` made, or be granted them.
func NewDatabase(db Querier) *Database { return &Database{db: db} }

// WithAccounts returns the target that makes a user's customer an account: with
// has_account and the auth identity "clerk" of the user, both or neither. A
// guest becomes one in place, with its orders. What a storefront needs to sign
// users in is in docs/MEDUSA.md.
func (d *Database) WithAccounts() *Database {
	return &Database{db: d.db, accounts: true, deletes: d.deletes}
}

// WithOnDelete returns the target whose Check asks for what a policy for customers
// of deleted users needs. Who calls Release carries the policy out.
func (d *Database) WithOnDelete(how lockstep.OnDelete) *Database {
	return &Database{db: d.db, accounts: d.accounts, deletes: how == lockstep.OnDeleteDelete}
}

// Name implements lockstep.Target.
func (d *Database) Name() string { return name }

// Fit implements lockstep.Target. Medusa's columns are text without a limit.
func (d *Database) Fit(want lockstep.Customer) lockstep.Customer {
	want.Account = d.accounts
	return want
}

// Every parameter has a cast, since a pooler's connections cannot be asked for
// the types. The functions take a blank text for an absent one.
const (
	columns = `r.how, r.id, coalesce(r.email, ''), coalesce(r.first_name, ''),
		coalesce(r.last_name, ''), coalesce(r.phone, ''), r.has_account, coalesce(r.clerk_user_id, ''), r.proven`

	checkSQL         = `select lockstep.medusa_check()`
	checkAccountsSQL = `select lockstep.medusa_check_accounts()`
	resolveSQL       = `select ` + columns + ` from lockstep.medusa_resolve($1::text, $2::text, $3::text, $4::boolean) r`
	listSQL          = `select ` + columns + ` from lockstep.medusa_list($1::text, $2::integer, $3::boolean) r`
	checkDeleteSQL   = `select lockstep.medusa_check_delete()`
	releaseSQL       = `select coalesce(lockstep.medusa_release($1::text, $2::text, $3::boolean, $4::text), '')`

	// A write answers with an id; reading that row in the same statement gives
	// the customer as it was written.
	written   = `select ` + columns + ` from `
	createSQL = written + `lockstep.medusa_create($1::text, $2::text, $3::text, $4::text, $5::text, $6::boolean) as w (id),
		lateral lockstep.medusa_resolve(null::text, w.id, null::text, $6::boolean) r`
	adoptSQL  = written + `lockstep.medusa_adopt` + change
	updateSQL = written + `lockstep.medusa_update` + change
	change    = `($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::boolean) as w (id),
		lateral lockstep.medusa_resolve(null::text, w.id, null::text, $7::boolean) r`
)

// Check implements lockstep.Target: Medusa's table must be where MEDUSA_SCHEMA
// says, with the columns and the unique index that the functions rely on, and
// the role that owns the functions must be allowed to use it.
func (d *Database) Check(ctx context.Context) error {
	check := checkSQL
	if d.accounts {
		check = checkAccountsSQL
	}
	if err := d.exec(ctx, reading("check"), check); err != nil || !d.deletes {
		return err
	}
	err := d.exec(ctx, reading("check"), checkDeleteSQL)
	if denied(err) {
		return reading("check").failf(lockstep.ErrRefused, "%s", addressAdvice)
	}
	return err
}

// Resolve implements lockstep.Target.
func (d *Database) Resolve(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
	rows, err := d.query(ctx, reading("resolve"), resolveSQL, q.UserID, q.CustomerID, q.Email, d.accounts)
	if err != nil {
		return lockstep.Found{}, err
	}
	var found lockstep.Found
	for _, r := range rows {
		switch r.how {
		case "link":
			found.ByLink = &r.Customer
		case "user":
			found.ByUser = append(found.ByUser, r.Customer)
		case "email":
			found.ByEmail = append(found.ByEmail, r.Customer)
		}
	}
	return found, nil
}

// Create implements lockstep.Target. A user who has a customer gets that one,
// as it is.
func (d *Database) Create(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	return d.write(ctx, writing("create"), createSQL,
		want.UserID, want.Email, want.FirstName, want.LastName, want.Phone, d.accounts)
}

// Adopt implements lockstep.Target. It fails with ErrTaken, too, if the user
// has another customer already. With accounts the guest becomes one. The e-mail
// goes along although it is the guest's: the function holds it against the row.
func (d *Database) Adopt(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	c := lockstep.Changes(now, want)
	return d.write(ctx, writing("adopt"), adoptSQL,
		now.ID, want.UserID, want.Email, c.FirstName, c.LastName, c.Phone, d.accounts)
}

// Update implements lockstep.Target. It marks a customer that carries no mark,
// and fails with ErrTaken if it carries another user's, or if the user has
// another customer. With accounts a guest becomes one, and an account whose
// sign-in is missing gets it.
func (d *Database) Update(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	c := lockstep.Changes(now, want)
	return d.write(ctx, writing("update"), updateSQL,
		now.ID, want.UserID, c.Email, c.FirstName, c.LastName, c.Phone, d.accounts)
}

// Release implements lockstep.Target. With accounts the user's sign-in goes, and
// the customer is a guest again, unless somebody else signs in as it, or another
// guest has its e-mail. Deleting is soft, as Medusa's is: orders refer to the row.
func (d *Database) Release(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (done lockstep.OnDelete, err error) {
	op, args := writing("release"), []any{now.ID, now.UserID, d.accounts, string(how)}
	if err := op.mayStart(ctx, args); err != nil {
		return "", err
	}
	rows, err := d.db.Query(ctx, releaseSQL, args...)
	if err == nil {
		done, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[lockstep.OnDelete])
	}
	if err != nil {
		err = op.failed(err)
	}
	if how == lockstep.OnDeleteDelete && denied(err) { // all else works
		err = op.failf(lockstep.ErrInvalid, "%s, then run lockstep retry", addressAdvice)
	}
	return done, err
}

const addressAdvice = "the role that ran lockstep migrate up may not delete customers' addresses: grant it select and update on Medusa's table customer_address"

// List implements lockstep.Lister, in the order of ids.
func (d *Database) List(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
	rows, err := d.query(ctx, reading("list"), listSQL, after, limit, d.accounts)
	if err != nil {
		return nil, err
	}
	list := make([]lockstep.Customer, len(rows))
	for i, r := range rows {
		list[i] = r.Customer
	}
	return list, nil
}

// row is a customer and how it was found: "link", "user", "email" or "list".
type row struct {
	how string
	lockstep.Customer
}

func scan(r pgx.CollectableRow) (row, error) {
	var c row
	err := r.Scan(&c.how, &c.ID, &c.Email, &c.FirstName, &c.LastName, &c.Phone, &c.Account, &c.UserID, &c.Proven)
	return c, err
}

func (d *Database) write(ctx context.Context, op operation, sql string, args ...any) (lockstep.Customer, error) {
	rows, err := d.query(ctx, op, sql, args...)
	if err != nil {
		return lockstep.Customer{}, err
	}
	if len(rows) != 1 {
		return lockstep.Customer{}, op.noAnswer()
	}
	return rows[0].Customer, nil
}

func (d *Database) query(ctx context.Context, op operation, sql string, args ...any) ([]row, error) {
	if err := op.mayStart(ctx, args); err != nil {
		return nil, err
	}
	rows, err := d.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, op.failed(err)
	}
	all, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, op.failed(err)
	}
	return all, nil
}

func (d *Database) exec(ctx context.Context, op operation, sql string, args ...any) error {
	if err := op.mayStart(ctx, args); err != nil {
		return err
	}
	rows, err := d.db.Query(ctx, sql, args...)
	if err != nil {
		return op.failed(err)
	}
	rows.Close() // reads to the end of the answer
	if err := rows.Err(); err != nil {
		return op.failed(err)
	}
	return nil
}

// storable reports whether PostgreSQL can hold the text: valid UTF-8, no NUL.
func storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
