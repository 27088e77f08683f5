package medusa_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/medusa"
)

// TestAccountFarewell: what a policy leaves of an account, of the sign-in and of
// the addresses. Who else signs in as the customer keeps it.
func TestAccountFarewell(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		how, want lockstep.OnDelete
		shared    bool
		addresses int // that live
	}{
		"anonymise":         {lockstep.OnDeleteAnonymise, lockstep.OnDeleteAnonymise, false, 1},
		"delete":            {lockstep.OnDeleteDelete, lockstep.OnDeleteDelete, false, 0},
		"anonymise, shared": {lockstep.OnDeleteAnonymise, lockstep.OnDeleteKeep, true, 1},
		"delete, shared":    {lockstep.OnDeleteDelete, lockstep.OnDeleteKeep, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openDefault(t)
			accounts := medusa.NewDatabase(s.owner).WithAccounts()
			c, err := accounts.Create(t.Context(), ada())
			if err != nil {
				t.Fatal(err)
			}
			exec(t, s.super, `insert into medusa.customer_address (id, customer_id, first_name) values ('cuaddr_1', $1, 'Ada')`, c.ID)
			if tt.shared {
				if err := (accountShop{s.shop(), s.schema}).signIn(t.Context(), c.ID, "emailpass", "ada@example.test"); err != nil {
					t.Fatal(err)
				}
			}
			if done, err := accounts.Release(t.Context(), c, tt.how); done != tt.want || err != nil {
				t.Fatalf("%s, %v", done, err)
			}
			if who := s.identities(t, c.ID); slices.ContainsFunc(who, func(w string) bool { return strings.Contains(w, "clerk") }) || (len(who) > 0) != tt.shared {
				t.Errorf("%v sign in", who)
			}
			row := one[string](t, s.super, `select concat_ws(' ', has_account, email = $2, deleted_at is null) from medusa.customer where id = $1`, c.ID, c.Email)
			want := map[lockstep.OnDelete]string{lockstep.OnDeleteKeep: "t t t", lockstep.OnDeleteAnonymise: "f f t", lockstep.OnDeleteDelete: "f f f"}[tt.want]
			if row != want {
				t.Errorf("account, e-mail, live: %s, want %s", row, want)
			}
			if n := one[int](t, s.super, `select count(*) from medusa.customer_address where deleted_at is null`); n != tt.addresses {
				t.Errorf("%d addresses", n)
			}
			if n := one[int](t, s.super, `select count(*) from medusa.customer`); n != 1 {
				t.Errorf("%d rows: Medusa's orders refer to them", n)
			}
		})
	}
}

// TestFarewellPrivilege: deleting needs the addresses, and without them says what
// to grant. Nothing else is stopped by it.
func TestFarewellPrivilege(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	exec(t, s.super, `alter table medusa.customer_address owner to supabase_admin`)
	exec(t, s.super, `revoke all on medusa.customer_address from postgres`)
	db := medusa.NewDatabase(s.owner)
	if err := db.WithOnDelete(lockstep.OnDeleteAnonymise).Check(t.Context()); err != nil {
		t.Errorf("to anonymise: %v", err)
	}
	for name, target := range map[string]*medusa.Database{"guests": db.WithOnDelete(lockstep.OnDeleteDelete), "accounts": db.WithOnDelete(lockstep.OnDeleteDelete).WithAccounts()} {
		if err := target.Check(t.Context()); lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(err.Error(), "customer_address") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := db.Create(t.Context(), ada())
	if err != nil {
		t.Fatal(err)
	}
	before := s.get(t, c.ID)
	if done, err := db.Release(t.Context(), c, lockstep.OnDeleteDelete); lockstep.KindOf(err) != lockstep.ErrInvalid || done != "" || !strings.Contains(err.Error(), "lockstep retry") {
		t.Errorf("%s, %v", done, err)
	}
	if after := s.get(t, c.ID); after.Version != before.Version {
		t.Errorf("half of it was done: %+v", after)
	}
	if done, err := db.Release(t.Context(), c, lockstep.OnDeleteAnonymise); done != lockstep.OnDeleteAnonymise || err != nil {
		t.Errorf("%s, %v", done, err)
	}
}

// TestReleasedIsTold: the metadata says that the user was deleted, if that is so,
// until somebody else has the customer.
func TestReleasedIsTold(t *testing.T) {
	t.Parallel()
	s, links, p := openDefault(t), ledger{}, adaProfile()
	db := medusa.NewDatabase(s.owner)
	now := links.sync(t, db, p, engine.Create).Customer
	for _, tt := range []struct {
		how  lockstep.OnDelete
		want string
	}{{lockstep.Unmark, `{}`}, {lockstep.OnDeleteKeep, `{"clerk_user_deleted": true}`}} {
		if _, err := db.Update(t.Context(), now, now); err != nil { // which marks it
			t.Fatal(err)
		}
		if done, err := db.Release(t.Context(), now, tt.how); done != tt.how || err != nil {
			t.Fatalf("%s: %s, %v", tt.how, done, err)
		}
		if text := one[string](t, s.super, `select metadata::text from medusa.customer`); text != tt.want {
			t.Errorf("%s: %s", tt.how, text)
		}
	}
	heir := p
	heir.ID = "user_heir"
	ledger{}.sync(t, db, heir, engine.Adopt)
	if text := one[string](t, s.super, `select metadata::text from medusa.customer`); text != `{"clerk_user_id": "user_heir"}` {
		t.Errorf("adopted: %s", text)
	}
}

// TestAPIFarewell: Medusa's DELETE proves nothing, so it is asked; a lost answer
// is unknown, and the next try finds what was done.
func TestAPIFarewell(t *testing.T) {
	t.Parallel()
	const deletes = "DELETE /admin/customers*"
	for name, tt := range map[string]struct {
		fault emulator.Fault
		kind  lockstep.ErrorKind
		again lockstep.OnDelete
	}{
		"answer lost":      {emulator.Fault{Action: emulator.ActionDropAfter}, lockstep.ErrUnknown, ""},
		"request lost":     {emulator.Fault{Action: emulator.ActionDropBefore}, lockstep.ErrUnknown, lockstep.OnDeleteDelete},
		"limited":          {emulator.Fault{Action: emulator.ActionRefuse, Status: http.StatusTooManyRequests, RetryAfter: 1}, lockstep.ErrThrottled, lockstep.OnDeleteDelete},
		"server's failure": {emulator.Fault{Action: emulator.ActionRefuse, Status: http.StatusInternalServerError}, lockstep.ErrUnknown, lockstep.OnDeleteDelete},
	} {
		w := openAPI(t)
		target := w.target(t, byKey(w.Medusa))
		c, err := target.Create(t.Context(), ada())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Faults.Script(deletes, tt.fault); err != nil {
			t.Fatal(err)
		}
		if done, err := target.Release(t.Context(), c, lockstep.OnDeleteDelete); lockstep.KindOf(err) != tt.kind || err == nil {
			t.Errorf("%s: %s, %v", name, done, err)
		}
		if done, err := target.Release(t.Context(), c, lockstep.OnDeleteDelete); done != tt.again || err != nil {
			t.Errorf("%s, again: %s, %v", name, done, err)
		}
		if n := len(w.Customers()); n != 0 {
			t.Errorf("%s: %d customers live", name, n)
		}
	}
}

// TestAPIReleasedIsTold: as TestReleasedIsTold, over the API.
func TestAPIReleasedIsTold(t *testing.T) {
	t.Parallel()
	for how, told := range map[lockstep.OnDelete]bool{lockstep.Unmark: false, lockstep.OnDeleteKeep: true} {
		w := openAPI(t)
		target := w.target(t, byKey(w.Medusa))
		c, err := target.Create(t.Context(), ada())
		if err != nil {
			t.Fatal(err)
		}
		if done, err := target.Release(t.Context(), c, how); done != how || err != nil {
			t.Fatalf("%s: %s, %v", how, done, err)
		}
		if _, says := w.Customers()[0].Metadata["clerk_user_deleted"]; says != told {
			t.Errorf("%s: says that the user was deleted: %v", how, says)
		}
	}
}

// TestAPIKeepsWhatMedusaKeeps: the guest becomes an account that nobody signs in
// to, which Medusa does not delete; only an SQL client makes such.
func TestAPIKeepsWhatMedusaKeeps(t *testing.T) {
	t.Parallel()
	w := openAPI(t)
	target := w.target(t, byKey(w.Medusa))
	c, err := target.Create(t.Context(), ada())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.EditCustomer(c.ID, emulator.MedusaEdit{HasAccount: new(true)}); err != nil {
		t.Fatal(err)
	}
	if done, err := target.Release(t.Context(), c, lockstep.OnDeleteDelete); done != lockstep.OnDeleteKeep || err != nil {
		t.Errorf("%s, %v", done, err)
	}
	if got, err := w.Customer(c.ID); err != nil || *got.Email != c.Email || got.Metadata["clerk_user_id"] != nil {
		t.Errorf("%+v, %v", got, err)
	}
}
