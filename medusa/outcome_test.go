package medusa_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/medusa"
	"github.com/lockstephq/lockstep/targettest"
)

func ada() lockstep.Customer {
	return lockstep.Customer{UserID: "user_ada", Email: "ada@example.test", FirstName: "Ada", LastName: "Byron"}
}

// blocked starts a call that has to wait for a lock on ada's user, hands the
// server process that waits to meanwhile, and returns the call's error.
func (s store) blocked(t *testing.T, call func() error, meanwhile func(pid int)) error {
	t.Helper()
	done := make(chan error, 1)
	err := pgx.BeginFunc(t.Context(), s.super, func(tx pgx.Tx) error {
		exec(t, tx, `select pg_advisory_xact_lock(hashtextextended('lockstep.medusa:user_ada', 0))`)
		go func() { done <- call() }()
		meanwhile(s.waiting(t, 1, done)[0])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return <-done
}

// waiting returns the n processes that wait for a lock, or fails if a call that
// should be waiting is done.
func (s store) waiting(t *testing.T, n int, done <-chan error) []int {
	t.Helper()
	for len(done) == 0 {
		pids, err := try[int](t, s.super, `select pid from pg_stat_activity
			where datname = current_database() and wait_event_type = 'Lock'`)
		if err != nil {
			t.Fatal(err)
		}
		if len(pids) == n {
			return pids
		}
	}
	t.Fatalf("a call did not wait: %v", <-done)
	return nil
}

// TestKilled: what the server says before it hangs up proves the rollback.
func TestKilled(t *testing.T) {
	t.Parallel()
	for function, code := range map[string]string{"pg_terminate_backend": "57P01", "pg_cancel_backend": "57014"} {
		t.Run(function, func(t *testing.T) {
			t.Parallel()
			s := openDefault(t)
			target := medusa.NewDatabase(s.owner)
			err := s.blocked(t, func() error { _, err := target.Create(t.Context(), ada()); return err }, func(pid int) {
				exec(t, s.super, `select `+function+`($1)`, pid)
			})
			if lockstep.KindOf(err) != lockstep.ErrTransient || !strings.Contains(err.Error(), code) {
				t.Errorf("got %v", err)
			}
			if n := s.count(t); n != 0 {
				t.Errorf("%d customers", n)
			}
		})
	}
}

// TestGivenUp: a caller that stops waiting cannot know what the server did.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	target := medusa.NewDatabase(s.owner)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.blocked(t, func() error { _, err := target.Create(ctx, ada()); return err }, func(int) { cancel() })
	if lockstep.KindOf(err) != lockstep.ErrUnknown || !errors.Is(err, context.Canceled) {
		t.Errorf("a write gave %v", err)
	}
}

// TestDropped: the connection goes while a statement waits, without a word.
func TestDropped(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	pool := s.pool(t, standin.Owner)
	target := medusa.NewDatabase(pool)
	acquired, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer acquired.Release()
	target = medusa.NewDatabase(acquired)
	err = s.blocked(t, func() error { _, err := target.Create(t.Context(), ada()); return err }, func(int) {
		if err := acquired.Conn().PgConn().Conn().Close(); err != nil {
			t.Error(err)
		}
	})
	if lockstep.KindOf(err) != lockstep.ErrUnknown {
		t.Errorf("a write gave %v", err)
	}
	// The dead connection is known for dead now: nothing is sent on it.
	if _, err = target.Create(t.Context(), ada()); lockstep.KindOf(err) != lockstep.ErrTransient {
		t.Errorf("a write on a closed connection gave %v", err)
	}
	if _, err := target.Resolve(t.Context(), lockstep.Query{UserID: "user_ada"}); lockstep.KindOf(err) != lockstep.ErrTransient {
		t.Errorf("a read gave %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		url  string
		kind lockstep.ErrorKind
	}{
		"no server":   {"postgres://postgres@" + "%2Fnonexistent/postgres", lockstep.ErrTransient},
		"no database": {"", lockstep.ErrRefused},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openDefault(t)
			url := tt.url
			if url == "" {
				name := one[string](t, s.super, `select current_database()`)
				url = strings.Replace(s.db.URL(standin.Owner), name, "no_such_database", 1)
			}
			pool := open(t, url)
			_, err := medusa.NewDatabase(pool).Create(t.Context(), ada())
			if lockstep.KindOf(err) != tt.kind {
				t.Errorf("got %v, want %q", err, tt.kind)
			}
		})
	}
}

// TestRepeatableRead: at that level a second Create would not see the first.
func TestRepeatableRead(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	exec(t, s.super, `do $$ begin execute format(
		'alter role postgres in database %I set default_transaction_isolation = ''repeatable read''', current_database()); end $$`)
	_, err := medusa.NewDatabase(s.pool(t, standin.Owner)).Create(t.Context(), ada())
	if lockstep.KindOf(err) != lockstep.ErrRefused {
		t.Errorf("got %v", err)
	}
}

// TestOneUserTwoGuests: whatever a user adopts at once, one mark is made.
func TestOneUserTwoGuests(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	target := medusa.NewDatabase(s.owner)
	errs := make(chan error)
	for _, email := range []string{"ada@example.test", "ADA@example.test", "Ada@example.test"} {
		guest := s.get(t, s.put(t, lockstep.Customer{Email: email})).Customer
		go func() {
			_, err := target.Adopt(t.Context(), guest, lockstep.Customer{UserID: "user_ada", FirstName: "Ada"})
			errs <- err
		}()
	}
	adopted := 0
	for range 3 {
		switch err := <-errs; {
		case err == nil:
			adopted++
		case lockstep.KindOf(err) != lockstep.ErrTaken:
			t.Error(err)
		}
	}
	marked := one[int](t, s.super, `select count(*) from medusa.customer where metadata ->> 'clerk_user_id' = 'user_ada'`)
	if adopted != 1 || marked != 1 {
		t.Errorf("%d adopted, %d marked, want one", adopted, marked)
	}
}

// TestEmailAcrossKinds: an account moves to an e-mail while a guest is made with
// it. Medusa's unique index allows both, so one must wait for the other.
func TestEmailAcrossKinds(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	account := s.put(t, lockstep.Customer{UserID: "user_bob", Email: "bob@example.test", Account: true})
	done := make(chan error, 1)
	err := pgx.BeginFunc(t.Context(), s.super, func(tx pgx.Tx) error {
		exec(t, tx, `select lockstep.medusa_update($1, 'user_bob', 'ada@example.test', '', '', '')`, account)
		go func() {
			_, err := medusa.NewDatabase(s.owner).Create(t.Context(), ada())
			done <- err
		}()
		s.waiting(t, 1, done)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; lockstep.KindOf(err) != lockstep.ErrTaken {
		t.Errorf("got %v", err)
	}
	if n := s.count(t); n != 1 {
		t.Errorf("%d customers share an e-mail", n)
	}
}

// TestPromotedMeanwhile: Medusa makes the guest an account while it is adopted.
func TestPromotedMeanwhile(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	guest := s.get(t, s.put(t, lockstep.Customer{Email: "ada@example.test"})).Customer
	done := make(chan error, 1)
	err := pgx.BeginFunc(t.Context(), s.super, func(tx pgx.Tx) error {
		exec(t, tx, `update medusa.customer set has_account = true where id = $1`, guest.ID)
		go func() {
			_, err := medusa.NewDatabase(s.owner).Adopt(t.Context(), guest, ada())
			done <- err
		}()
		s.waiting(t, 1, done)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; lockstep.KindOf(err) != lockstep.ErrTaken {
		t.Errorf("got %v", err)
	}
	if got := s.get(t, guest.ID); got.UserID != "" {
		t.Error("an account was marked")
	}
}

// TestMedusaIsFaster: Medusa takes an e-mail between our look and our write,
// and PostgreSQL's own message, which shows the e-mail, must not come through.
func TestMedusaIsFaster(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	target := medusa.NewDatabase(s.owner)
	now, err := target.Create(t.Context(), ada())
	if err != nil {
		t.Fatal(err)
	}
	// A trigger plays the other session: the row appears after our look.
	exec(t, s.super, `create function medusa.interfere() returns trigger language plpgsql as $$ begin
		if pg_trigger_depth() = 1 then insert into medusa.customer (id, email) values ('cus_other', new.email); end if;
		return new; end $$`)
	exec(t, s.super, `create trigger interfere before insert or update on medusa.customer for each row execute function medusa.interfere()`)
	want := now
	want.Email = "grace@example.test"
	_, err = target.Update(t.Context(), now, want)
	if lockstep.KindOf(err) != lockstep.ErrTaken || strings.Contains(err.Error(), "grace") {
		t.Errorf("got %v", err)
	}
	_, err = try[*string](t, s.owner, ourUpdate, now.ID, "grace@example.test", nil, nil)
	refusedWith(t, err, "23505", "grace")
	_, err = target.Create(t.Context(), lockstep.Customer{UserID: "user_grace", Email: "grace@example.test"})
	if lockstep.KindOf(err) != lockstep.ErrTaken || strings.Contains(err.Error(), "grace@") {
		t.Errorf("got %v", err)
	}
	if got := one[string](t, s.owner, ourCreate, "grace@example.test"); got != "cus_other" {
		t.Errorf("made %s beside the guest that Medusa made", got)
	}
}

// TestUpdatedAt: nothing in Medusa's table keeps that column, and Medusa's own
// readers go by it.
func TestUpdatedAt(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	for _, write := range []string{
		`select lockstep.medusa_adopt('cus_1', 'user_ada', '', 'Ada', '', '')`,
		`select lockstep.medusa_update('cus_1', 'user_ada', '', 'Augusta', '', '')`,
		`select lockstep.medusa_release('cus_1', 'user_ada')`,
		`select public.update_medusa_customer('cus_1', 'ada@example.test')`,
	} {
		exec(t, s.super, `insert into medusa.customer (id) values ('cus_1') on conflict do nothing`)
		exec(t, s.super, `update medusa.customer set updated_at = '2020-01-01'`)
		exec(t, s.owner, write)
		if one[bool](t, s.super, `select updated_at = '2020-01-01' from medusa.customer`) {
			t.Errorf("%s left updated_at as it was", write)
		}
	}
}

// TestMetadata: whatever others keep there stays, and what is no object is not
// ours to replace.
func TestMetadata(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	target := medusa.NewDatabase(s.owner)
	tests := map[string]struct{ before, after string }{
		"none":          {"", `{"clerk_user_id": "user_ada"}`},
		"JSON null":     {`null`, `{"clerk_user_id": "user_ada"}`},
		"nested":        {`{"a": {"b": [1, null]}}`, `{"a": {"b": [1, null]}, "clerk_user_id": "user_ada"}`},
		"a blank mark":  {`{"clerk_user_id": ""}`, `{"clerk_user_id": "user_ada"}`},
		"a null mark":   {`{"clerk_user_id": null}`, `{"clerk_user_id": "user_ada"}`},
		"another's":     {`{"clerk_user_id": "user_bob"}`, ""},
		"an array":      {`[1]`, ""},
		"text":          {`"x"`, ""},
		"a number mark": {`{"clerk_user_id": 7}`, ""},
	}
	for name, tt := range tests {
		exec(t, s.super, `delete from medusa.customer`)
		exec(t, s.super, `insert into medusa.customer (id, metadata) values ('cus_1', nullif($1, '')::jsonb)`, tt.before)
		_, err := target.Adopt(t.Context(), lockstep.Customer{ID: "cus_1"}, lockstep.Customer{UserID: "user_ada"})
		want := tt.after
		if want == "" {
			want = tt.before
		}
		if (err == nil) != (tt.after != "") || err != nil && lockstep.KindOf(err) != lockstep.ErrTaken && lockstep.KindOf(err) != lockstep.ErrInvalid {
			t.Errorf("%s: %v", name, err)
		}
		if got := one[bool](t, s.super, `select metadata = $1::text::jsonb from medusa.customer`, want); !got {
			t.Errorf("%s: the metadata is not %s", name, want)
		}
	}
}

// TestBlankFindsNobody: blank values in the store are nobody's.
func TestBlankFindsNobody(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	exec(t, s.super, `insert into medusa.customer (id, email, metadata) values ('', '', '{"clerk_user_id": ""}')`)
	found, err := medusa.NewDatabase(s.owner).Resolve(t.Context(), lockstep.Query{Email: " "})
	if err != nil || found.ByUser != nil || found.ByEmail != nil {
		t.Errorf("found %+v, %v", found, err)
	}
}

// TestStaleNow: a customer seen long ago is compared with what is there.
func TestStaleNow(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	target := medusa.NewDatabase(s.owner)
	now, err := target.Create(t.Context(), ada())
	if err != nil {
		t.Fatal(err)
	}
	before := s.get(t, now.ID)
	if _, err := target.Update(t.Context(), lockstep.Customer{ID: now.ID}, ada()); err != nil {
		t.Fatal(err)
	}
	if after := s.get(t, now.ID); after.Version != before.Version {
		t.Error("wrote what was there already")
	}
	edited := before
	edited.FirstName = "Augusta"
	if err := s.shop().Edit(t.Context(), edited); err != nil {
		t.Fatal(err)
	}
	want := ada()
	want.LastName = "King"
	got, err := target.Update(t.Context(), now, want)
	if err != nil || got.FirstName != "Augusta" || got.LastName != "King" {
		t.Errorf("got %+v, %v: the merchant's edit is lost", got, err)
	}
	if _, err := target.Create(t.Context(), lockstep.Customer{UserID: " "}); lockstep.KindOf(err) != lockstep.ErrInvalid {
		t.Errorf("a blank user: %v", err)
	}
}

// TestFlaky has both kinds of lost answers, at random, end in one customer.
func TestFlaky(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	flaky := targettest.NewFlaky(medusa.NewDatabase(s.owner), targettest.Rates{Seed: 3, Fail: 0.6, After: 0.5})
	for tries := 0; ; tries++ {
		if _, err := flaky.Create(t.Context(), ada()); err == nil && tries > 20 {
			break
		}
	}
	if n := s.count(t); n != 1 || flaky.Counts().After == 0 {
		t.Errorf("%d customers after %+v", n, flaky.Counts())
	}
}
