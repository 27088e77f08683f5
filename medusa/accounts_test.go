package medusa_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/engine"
	"github.com/lockstephq/lockstep/medusa"
)

func adaProfile() lockstep.Profile {
	return lockstep.Profile{ID: "user_ada", Email: "ada@example.test", EmailVerified: true, FirstName: "Ada", LastName: "Byron"}
}

// identities lists who may sign in as the customer: provider and entity.
func (s store) identities(t *testing.T, customer string) []string {
	t.Helper()
	all, err := try[string](t, s.super, `select p.provider || ' ' || p.entity_id
		from medusa.provider_identity p join medusa.auth_identity a on a.id = p.auth_identity_id
		where a.app_metadata ->> 'customer_id' = $1 and p.deleted_at is null and a.deleted_at is null order by 1`, customer)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// account fails unless the customer is an account that user_ada signs in to.
func (s store) account(t *testing.T, id string) {
	t.Helper()
	if who := s.identities(t, id); len(who) != 1 || who[0] != "clerk user_ada" {
		t.Errorf("%v sign in as %s", who, id)
	}
	if !one[bool](t, s.super, `select has_account from medusa.customer where id = $1 and deleted_at is null`, id) {
		t.Errorf("%s is no account", id)
	}
}

func TestAccountsTurnedOnAndOff(t *testing.T) {
	t.Parallel()
	s, links, ada := openDefault(t), ledger{}, adaProfile()
	guests, accounts := medusa.NewDatabase(s.owner), medusa.NewDatabase(s.owner).WithAccounts()
	id := links.sync(t, guests, ada, engine.Create).Customer.ID
	if now := links.sync(t, accounts, ada, engine.Update).Customer.ID; now != id {
		t.Fatalf("promoted %s, want %s", now, id)
	}
	s.account(t, id)
	links.sync(t, accounts, ada, engine.Nothing)
	links.sync(t, guests, ada, engine.Nothing) // turned off again: the account stays
	s.account(t, id)
	ada.LastName = "Lovelace"
	links.sync(t, guests, ada, engine.Update)
	s.account(t, id)
}

// TestIdentityFindsAccount: without a link, who signs in is proof enough.
func TestIdentityFindsAccount(t *testing.T) {
	t.Parallel()
	s, ada := openDefault(t), adaProfile()
	accounts := medusa.NewDatabase(s.owner).WithAccounts()
	id := ledger{}.sync(t, accounts, ada, engine.Create).Customer.ID
	exec(t, s.super, `update medusa.customer set metadata = '{"clerk_user_id": "user_eve"}'`) // by the shopper
	if found := (ledger{}).sync(t, accounts, ada, engine.Nothing).Customer.ID; found != id {
		t.Errorf("found %s, want %s", found, id)
	}
	eve := ada
	eve.ID, eve.Email = "user_eve", "eve@example.test"
	if made := (ledger{}).sync(t, accounts, eve, engine.Create).Customer.ID; made == id {
		t.Error("the scribbled mark was believed")
	}
}

// TestEmailpassAccountIsNotTaken, neither by e-mail nor to make room for one.
func TestEmailpassAccountIsNotTaken(t *testing.T) {
	t.Parallel()
	s, ada := openDefault(t), adaProfile()
	accounts := medusa.NewDatabase(s.owner).WithAccounts()
	theirs := s.put(t, lockstep.Customer{Email: ada.Email, Account: true})
	if err := (accountShop{s.shop(), s.schema}).signIn(t.Context(), theirs, "emailpass", ada.Email); err != nil {
		t.Fatal(err)
	}
	if by := (ledger{}).sync(t, accounts, ada, engine.Conflict).Decision.BlockedBy; by != theirs {
		t.Errorf("the conflict is about %s, want %s", by, theirs)
	}
	guest := s.put(t, lockstep.Customer{Email: ada.Email})
	if by := (ledger{ada.ID: guest}).sync(t, accounts, ada, engine.Conflict).Decision.BlockedBy; by != theirs {
		t.Errorf("the conflict is about %s, want %s", by, theirs)
	}
	if _, err := accounts.Update(t.Context(), s.get(t, guest).Customer, ada.Customer()); lockstep.KindOf(err) != lockstep.ErrTaken {
		t.Errorf("an update past the plan gave %v", err)
	}
	if who := s.identities(t, guest); len(who) != 0 {
		t.Errorf("%v sign in as the guest", who)
	}
	if who := s.identities(t, theirs); len(who) != 1 || who[0] != "emailpass "+ada.Email {
		t.Errorf("%v sign in as the account", who)
	}
}

// TestIdentitiesLeftBehind: Medusa's unique index counts every row that there
// ever was of a user, so what is there is completed.
func TestIdentitiesLeftBehind(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]string{
		"by a first sign-in":        `null, null`,
		"of a deleted customer":     `'{"customer_id": "cus_gone", "theirs": 1}', null`,
		"of a customer of long ago": `'{"customer_id": "cus_never"}', null`,
		"deleted":                   `'{"customer_id": "cus_gone"}', now()`,
		"json null":                 `'null', null`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openDefault(t)
			exec(t, s.super, `insert into medusa.customer (id, has_account, deleted_at) values ('cus_gone', true, now())`)
			exec(t, s.super, `insert into medusa.auth_identity (id, app_metadata, deleted_at) values ('authid_1', `+left+`)`)
			exec(t, s.super, `insert into medusa.provider_identity (id, provider, entity_id, auth_identity_id, deleted_at)
				select '1', 'clerk', 'user_ada', id, deleted_at from medusa.auth_identity`)
			accounts := medusa.NewDatabase(s.owner).WithAccounts()
			s.account(t, ledger{}.sync(t, accounts, adaProfile(), engine.Create).Customer.ID)
		})
	}
}

// TestBothOrNeither: where the identity cannot be written, nothing is.
func TestBothOrNeither(t *testing.T) {
	t.Parallel()
	s := openDefault(t)
	guest := s.put(t, lockstep.Customer{Email: "guest@example.test"})
	before := s.get(t, guest)
	exec(t, s.super, `create function public.no() returns trigger language plpgsql as $$ begin raise 'no'; end $$`)
	exec(t, s.super, `create trigger no before insert on medusa.provider_identity for each row execute function public.no()`)
	accounts := medusa.NewDatabase(s.owner).WithAccounts()
	if _, err := accounts.Create(t.Context(), ada()); err == nil {
		t.Error("Create succeeded")
	}
	if _, err := accounts.Adopt(t.Context(), before.Customer, ada()); err == nil {
		t.Error("Adopt succeeded")
	}
	if n := s.count(t); n != 1 || s.get(t, guest).Version != before.Version {
		t.Errorf("%d customers, and the guest is %+v", n, s.get(t, guest))
	}
	if n := one[int](t, s.super, `select count(*) from medusa.auth_identity`); n != 0 {
		t.Errorf("%d identities", n)
	}
}

// TestReleasedAccount: the sign-in goes; has_account goes with it unless that
// would break something.
func TestReleasedAccount(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before  func(t *testing.T, s store, id string)
		account bool
		shells  int // identities that nobody can use
	}{
		"alone": {func(*testing.T, store, string) {}, false, 0},
		"beside a guest": {func(t *testing.T, s store, _ string) {
			s.put(t, lockstep.Customer{Email: "ada@example.test"})
		}, true, 1},
		"with another sign-in": {func(t *testing.T, s store, id string) {
			if err := (accountShop{s.shop(), s.schema}).signIn(t.Context(), id, "emailpass", "ada@example.test"); err != nil {
				t.Fatal(err)
			}
		}, true, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, links, ada := openDefault(t), ledger{}, adaProfile()
			accounts := medusa.NewDatabase(s.owner).WithAccounts()
			id := links.sync(t, accounts, ada, engine.Create).Customer.ID
			tt.before(t, s, id)
			ada.DeletedAt = time.Now()
			if wrote := links.sync(t, accounts, ada, engine.Release).Wrote; len(wrote) != 1 {
				t.Fatalf("wrote %v", wrote)
			}
			if who := s.identities(t, id); strings.Contains(strings.Join(who, " "), "clerk") {
				t.Errorf("%v sign in", who)
			}
			got := s.get(t, id)
			if got.Account != tt.account || got.UserID != "" || got.Email != ada.Email {
				t.Errorf("left %+v", got)
			}
			shells := one[int](t, s.super, `select count(*) from medusa.auth_identity a where app_metadata ->> 'customer_id' = $1
				and not exists (select from medusa.provider_identity p where p.auth_identity_id = a.id)`, id)
			if shells != tt.shells {
				t.Errorf("%d identities that nobody can use, want %d", shells, tt.shells)
			}
		})
	}
}

func TestCheckOfAccounts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"table":     `alter table medusa.provider_identity rename to other`,
		"column":    `alter table medusa.auth_identity rename app_metadata to other`,
		"index":     `drop index medusa."IDX_provider_identity_provider_entity_id"`,
		"privilege": `alter table medusa.auth_identity owner to supabase_admin`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openDefault(t)
			exec(t, s.super, change)
			if err := medusa.NewDatabase(s.owner).Check(t.Context()); err != nil {
				t.Errorf("guests need no identities: %v", err)
			}
			if err := medusa.NewDatabase(s.owner).WithAccounts().Check(t.Context()); lockstep.KindOf(err) != lockstep.ErrRefused {
				t.Errorf("got %v", err)
			}
		})
	}
}
