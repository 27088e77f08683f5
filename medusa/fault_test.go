package medusa_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/medusa"
	"github.com/lockstephq/lockstep/targettest"
)

// The ten faults of the seed's two functions, each reproduced with the seed's
// own before ours is tried.

func openWithSeed(t *testing.T) store {
	t.Helper()
	s := openDefault(t)
	if err := runAs(t.Context(), s.db.URL(""), standin.Owner, seedFunctions(t)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s store) put(t *testing.T, c lockstep.Customer) string {
	t.Helper()
	r, err := s.shop().Put(t.Context(), targettest.Record{Customer: c})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func (s store) get(t *testing.T, id string) targettest.Record {
	t.Helper()
	r, live, err := s.shop().Get(t.Context(), id)
	if err != nil || !live {
		t.Fatalf("customer %s: live=%t, %v", id, live, err)
	}
	return r
}

func (s store) count(t *testing.T) int {
	t.Helper()
	return one[int](t, s.super, `select count(*) from `+s.schema+`.customer where deleted_at is null`)
}

// refusedWith checks an error's code, and that nothing in it names a person.
func refusedWith(t *testing.T, err error, code string, personal ...string) {
	t.Helper()
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != code {
		t.Errorf("got %v, want SQLSTATE %s", err, code)
		return
	}
	for _, word := range personal {
		if strings.Contains(pg.Message+pg.Detail+pg.Hint, word) {
			t.Errorf("the error names %q: %+v", word, pg)
		}
	}
}

const (
	seedCreate = `select seed.create_medusa_customer($1)`
	ourCreate  = `select public.create_medusa_customer($1)`
	ourUpdate  = `select public.update_medusa_customer($1, $2, $3, $4)::text`
)

func TestFault01DeletedCustomer(t *testing.T) {
	t.Parallel()
	s := openWithSeed(t)
	dead := s.put(t, lockstep.Customer{Email: "ada@example.test"})
	if err := s.shop().Delete(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	if got := one[string](t, s.owner, seedCreate, "ada@example.test"); got != dead {
		t.Errorf("the seed gave %s, no longer the ghost", got)
	}
	if got := one[string](t, s.owner, ourCreate, "ada@example.test"); got == dead {
		t.Error("handed out a deleted customer")
	}
	_, err := try[*string](t, s.owner, ourUpdate, dead, "ada@example.test", nil, nil)
	refusedWith(t, err, "P0002", "ada")
	_, err = try[*string](t, s.owner, ourUpdate, "cus_unknown", "ada@example.test", nil, nil)
	refusedWith(t, err, "P0002", "ada")
}

func TestFault02GuestBesideAccount(t *testing.T) {
	t.Parallel()
	s := openWithSeed(t)
	account := s.put(t, lockstep.Customer{Email: "ada@example.test", Account: true})
	guest := s.put(t, lockstep.Customer{Email: "ada@example.test"})
	// The seed gives what comes first in the heap; an update puts a row last.
	first := one[string](t, s.owner, seedCreate, "ada@example.test")
	exec(t, s.super, `update medusa.customer set phone = '1' where id = $1`, first)
	if second := one[string](t, s.owner, seedCreate, "ada@example.test"); first != account && second != account {
		t.Error("the seed no longer gives the account away")
	}
	if got := one[string](t, s.owner, ourCreate, "ada@example.test"); got != guest {
		t.Errorf("gave %s, want the guest %s", got, guest)
	}
}

func TestFault03NoUpsert(t *testing.T) {
	t.Parallel()
	s := openWithSeed(t)
	_, err := try[string](t, s.owner, `insert into medusa.customer (id, email) values ('cus_1', 'ada@example.test')
		on conflict (email, has_account) do nothing returning id`)
	refusedWith(t, err, "42P10") // what most people write

	// All sixteen are past the start before the first may go on.
	errs := make(chan error, 16)
	err = pgx.BeginFunc(t.Context(), s.super, func(tx pgx.Tx) error {
		exec(t, tx, `select pg_advisory_xact_lock(hashtextextended('lockstep.medusa.email:ada@example.test', 0))`)
		for range cap(errs) {
			go func() {
				_, err := try[string](t, s.owner, ourCreate, "Ada@Example.test")
				errs <- err
			}()
		}
		s.waiting(t, cap(errs), errs)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := s.count(t); n != 1 {
		t.Errorf("%d customers, want 1", n)
	}
}

func TestFault04Case(t *testing.T) {
	t.Parallel()
	s := openWithSeed(t)
	guest := s.put(t, lockstep.Customer{Email: "Ada@Example.test"})
	if got := one[string](t, s.owner, seedCreate, "ada@example.test"); got == guest {
		t.Error("the seed found the guest")
	}
	exec(t, s.super, `delete from medusa.customer where id <> $1`, guest)
	if got := one[string](t, s.owner, ourCreate, " ADA@example.test\n"); got != guest {
		t.Errorf("gave %s, want the guest %s", got, guest)
	}
	lower := s.put(t, lockstep.Customer{Email: "ada@example.test"})
	if got := one[string](t, s.owner, ourCreate, "ada@example.test"); got != lower {
		t.Errorf("gave %s, want the one that a cart finds, %s", got, lower)
	}
	made := one[string](t, s.owner, ourCreate, " Grace@Example.TEST ")
	if got := s.get(t, made).Email; got != "grace@example.test" {
		t.Errorf("stored %q", got)
	}
}

func TestFault05NoValidation(t *testing.T) {
	t.Parallel()
	s := openWithSeed(t)
	for _, bad := range []any{nil, "", "  \t", "not an email", "ada@", "@example.test", "ada@example test", "a@b@c"} {
		if _, err := try[string](t, s.owner, seedCreate, bad); err != nil {
			t.Errorf("the seed refused %v: %v", bad, err)
		}
		_, err := try[string](t, s.owner, ourCreate, bad)
		refusedWith(t, err, "22023", "ada")
	}
	id := s.put(t, lockstep.Customer{Email: "ada@example.test"})
	for _, bad := range []any{nil, " ", "ada"} {
		_, err := try[*string](t, s.owner, ourUpdate, id, bad, nil, nil)
		refusedWith(t, err, "22023", "ada")
	}
}

func TestFault06TakenEmailAndLostNames(t *testing.T) {
	t.Parallel()
	s := openWithSeed(t)
	id := s.put(t, lockstep.Customer{Email: "ada@example.test", FirstName: "Ada", LastName: "Byron"})
	exec(t, s.owner, `select seed.update_medusa_customer($1, 'ada@example.test')`, id)
	if got := s.get(t, id); got.FirstName != "" {
		t.Error("the seed kept the name")
	}
	exec(t, s.owner, ourUpdate, id, "Ada2@example.test", "Ada", "Byron")
	exec(t, s.owner, ourUpdate, id, "ada2@example.test", nil, "")
	got := s.get(t, id)
	if got.FirstName != "Ada" || got.LastName != "Byron" || got.Email != "ada2@example.test" {
		t.Errorf("holds %+v", got)
	}
	for _, account := range []bool{false, true} {
		s.put(t, lockstep.Customer{Email: "Grace@example.test", Account: account})
		_, err := try[*string](t, s.owner, ourUpdate, id, "grace@example.test", "Grace", nil)
		refusedWith(t, err, "23505", "grace", "Grace")
		exec(t, s.super, `delete from medusa.customer where id <> $1`, id)
	}
	if after := s.get(t, id); after.Version != got.Version {
		t.Error("a refused update wrote something")
	}
}

func TestFault07PrivilegeHole(t *testing.T) {
	t.Parallel()
	s := openWithSeed(t)
	asRole(t, s, "anon", func(tx execer) {
		if _, err := try[string](t, tx, seedCreate, "ada@example.test"); err != nil {
			t.Errorf("the seed refused anon: %v", err)
		}
	})
	asRole(t, s, "anon", func(tx execer) {
		_, err := try[string](t, tx, ourCreate, "ada@example.test")
		refusedWith(t, err, "42501", "ada")
	})
}

func TestFault08TakeoverByEmail(t *testing.T) {
	t.Parallel()
	s := openWithSeed(t)
	attacker := s.put(t, lockstep.Customer{Email: "Victim@example.test", Account: true})
	if got, _ := try[string](t, s.owner, seedCreate, "Victim@example.test"); len(got) != 1 || got[0] != attacker {
		t.Error("the seed kept the account to itself")
	}
	_, err := try[string](t, s.owner, ourCreate, "victim@example.test")
	refusedWith(t, err, "23505", "victim")
	if n := s.count(t); n != 1 {
		t.Errorf("%d customers, want the account alone", n)
	}
}

// TestFault09Ids: an anonymous cart takes the first id of an e-mail, and a UUID
// sorts before "cus_".
func TestFault09Ids(t *testing.T) {
	t.Parallel()
	s := openWithSeed(t)
	form := regexp.MustCompile(`^cus_[0-7][0-9A-HJKMNP-TV-Z]{25}$`)
	if form.MatchString(one[string](t, s.owner, seedCreate, "seed@example.test")) {
		t.Error("the seed's id is one of Medusa's form")
	}
	ids := map[string]bool{one[string](t, s.owner, ourCreate, "ours@example.test"): true}
	made, err := try[string](t, s.super, `select 'cus_' || lockstep.ulid() from generate_series(1, 1000)`)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range made {
		ids[id] = true
	}
	if len(ids) != 1001 {
		t.Errorf("%d different ids, want 1001", len(ids))
	}
	for id := range ids {
		if !form.MatchString(id) {
			t.Fatalf("id %q is not Medusa's form", id)
		}
	}
}

// TestFault10Names: a parameter called as a column makes "email = email" true
// for every row.
func TestFault10Names(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	ada := s.put(t, lockstep.Customer{UserID: "user_ada", Email: "ada@example.test", FirstName: "Ada"})
	grace := s.put(t, lockstep.Customer{Email: "grace@example.test", FirstName: "Grace"})
	before := s.get(t, grace)
	exec(t, s.owner, `select public.update_medusa_customer(p_customer_id => $1, p_email => 'new@example.test')`, ada)
	exec(t, s.owner, `select public.create_medusa_customer(p_email => 'new@example.test', p_last_name => 'Byron')`)
	if got := s.get(t, ada); got.UserID != "user_ada" || got.Email != "new@example.test" {
		t.Errorf("holds %+v", got)
	}
	if after := s.get(t, grace); after.Version != before.Version {
		t.Error("another customer was written")
	}
	names := one[int](t, s.super, `select count(*) from pg_proc p, unnest(p.proargnames, p.proargmodes) a (name, mode)
		where p.proname like '%medusa%' and p.pronamespace in ('public'::regnamespace, 'lockstep'::regnamespace)
		and coalesce(a.mode, 'i') = 'i' and a.name not like 'p\_%'`)
	if names != 0 {
		t.Errorf("%d parameters are called like columns", names)
	}
}

// Not the seed's, but Medusa's Store API lets whoever signs in write the own
// metadata: a mark on an account is anybody's word.
func TestMarkThatAShopperWrote(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	forged := s.put(t, lockstep.Customer{UserID: "user_victim", Email: "mallory@example.test", Account: true})
	c, err := medusa.NewDatabase(s.owner).Create(t.Context(), lockstep.Customer{UserID: "user_victim", Email: "victim@example.test"})
	if err != nil || c.ID == forged || c.Email != "victim@example.test" || c.Account {
		t.Errorf("created %+v, %v", c, err)
	}
	if r := s.get(t, forged); r.Email != "mallory@example.test" {
		t.Errorf("the account was written: %+v", r.Customer)
	}
}
