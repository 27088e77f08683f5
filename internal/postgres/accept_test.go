package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"pgregory.net/rapid"
)

type fixture struct {
	*postgres.Store
	pool *pgxpool.Pool
}

func newStore(t testing.TB) fixture {
	pool := testdb.Pool(t, testdb.New(t), standin.Owner)
	return fixture{postgres.NewStore(pool), pool}
}

func (f fixture) accept(t testing.TB, batch ...lockstep.Delivery) (out []postgres.Accepted) {
	t.Helper()
	must(t, pgx.BeginFunc(t.Context(), f.pool, func(tx pgx.Tx) (err error) {
		out, err = f.Accept(t.Context(), tx, batch)
		return err
	}))
	return out
}

func (f fixture) profile(t testing.TB, id string) lockstep.Profile {
	t.Helper()
	p, err := f.Profile(t.Context(), id)
	must(t, err)
	return p
}

func ms(n int64) time.Time { return time.UnixMilli(n).UTC() }

// version is an update of user_1 at a time, by a delivery of that name.
func version(id string, at int64, email string) lockstep.Delivery {
	return lockstep.Delivery{Source: "clerk", ID: id, Kind: "user.updated", User: lockstep.User{
		ID: "user_1", FirstName: "Ada", Email: email, EmailVerified: true, CreatedAt: ms(1), UpdatedAt: ms(at)}}
}

func deletion(id string) lockstep.Delivery {
	return lockstep.Delivery{Source: "clerk", ID: id, Kind: "user.deleted", User: lockstep.User{ID: "user_1", Deleted: true}}
}

var (
	applied   = postgres.Accepted{Receipt: lockstep.ReceiptApplied, Changed: true}
	unchanged = postgres.Accepted{Receipt: lockstep.ReceiptApplied}
	stale     = postgres.Accepted{Receipt: lockstep.ReceiptStale}
	duplicate = postgres.Accepted{Receipt: lockstep.ReceiptDuplicate}
)

func TestAcceptRules(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]struct {
		d     lockstep.Delivery
		want  postgres.Accepted
		email string
	}{
		"newer wins": {
			{version("m1", 100, "a@x.test"), applied, "a@x.test"}, {version("m3", 101, "c@x.test"), applied, "c@x.test"},
			{version("m2", 99, "b@x.test"), stale, "c@x.test"}},
		"one millisecond decides": {
			{version("m1", 1771934405154, "a@x.test"), applied, "a@x.test"}, {version("m2", 1771934405153, "b@x.test"), stale, "a@x.test"},
			{version("m3", 1771934405155, "c@x.test"), applied, "c@x.test"}},
		"a tie is applied": {
			{version("m1", 100, "a@x.test"), applied, "a@x.test"}, {version("m2", 100, "b@x.test"), applied, "b@x.test"}},
		"a duplicate changes nothing, even on a tie": {
			{version("m1", 100, "a@x.test"), applied, "a@x.test"}, {version("m2", 100, "b@x.test"), applied, "b@x.test"},
			{version("m1", 100, "a@x.test"), duplicate, "b@x.test"}},
		"a newer version of the same is no change": {
			{version("m1", 100, "a@x.test"), applied, "a@x.test"}, {version("m2", 200, "a@x.test"), unchanged, "a@x.test"},
			{version("m3", 150, "b@x.test"), stale, "a@x.test"}},
		"an update after a deletion is stale": {
			{version("m1", 100, "a@x.test"), applied, "a@x.test"}, {deletion("m2"), applied, "a@x.test"},
			{version("m3", 200, "b@x.test"), stale, "a@x.test"}, {deletion("m4"), stale, "a@x.test"}},
		"a deletion that comes first is final": {
			{deletion("m1"), applied, ""}, {version("m2", 100, "a@x.test"), stale, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			for i, step := range steps {
				if got := s.accept(t, step.d); got[0] != step.want {
					t.Errorf("step %d: %+v, want %+v", i, got[0], step.want)
				}
				if got := s.profile(t, "user_1").Email; got != step.email {
					t.Errorf("step %d: e-mail %q, want %q", i, got, step.email)
				}
			}
		})
	}
}

func TestAcceptBatchWithSeveralVersionsOfOneUser(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	got := s.accept(t, version("m1", 100, "a@x.test"), version("m3", 300, "c@x.test"), version("m2", 200, "b@x.test"), version("m3", 300, "c@x.test"))
	if got[0] != stale || got[1].Receipt != lockstep.ReceiptApplied && got[3].Receipt != lockstep.ReceiptApplied || got[2] != stale {
		t.Errorf("%+v", got)
	}
	if e := s.profile(t, "user_1").Email; e != "c@x.test" {
		t.Errorf("e-mail %q", e)
	}
	s.accept(t, version("m5", 500, "e@x.test"), deletion("m6"), version("m7", 700, "g@x.test"))
	if !s.profile(t, "user_1").Deleted() {
		t.Error("a deletion in the middle of a batch was lost")
	}
}

func TestAcceptKeepsEveryField(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	long := strings.Repeat("ä", 300)
	u := lockstep.User{ID: "user_1", Username: long, FirstName: "Ada", LastName: "\uFFFD' \\ \"", AvatarURL: "https://img.example.test/a",
		Email: "Ada@Example.test", EmailVerified: true, Phone: "+15555550100", PhoneVerified: true, Deprovisioned: true, CreatedAt: ms(5), UpdatedAt: ms(1771934405154)}
	s.accept(t, lockstep.Delivery{Source: "clerk", ID: "m1", Kind: "user.created", User: u})
	got := s.profile(t, "user_1")
	got.UpdatedAt = time.Time{}
	got.CreatedAt, got.ClerkUpdatedAt = got.CreatedAt.UTC(), got.ClerkUpdatedAt.UTC()
	want := lockstep.Profile{ID: "user_1", Username: long, FirstName: "Ada", LastName: u.LastName, AvatarURL: u.AvatarURL, Email: u.Email,
		EmailVerified: true, Phone: u.Phone, PhoneVerified: true, Banned: true, CreatedAt: ms(5), ClerkUpdatedAt: u.UpdatedAt}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever the order, the batches, the duplicates and the concurrency: the
// newest version stays, and a deletion stays for ever.
func TestAcceptConvergesInAnyOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		user := fmt.Sprintf("user_%d", n)
		count := rapid.IntRange(1, 8).Draw(rt, "versions")
		deleted := rapid.Bool().Draw(rt, "deleted")
		var all []lockstep.Delivery
		for i := range count {
			d := version(fmt.Sprintf("m%d_%d", n, i), int64(1000+i), fmt.Sprintf("v%d@x.test", i))
			d.User.ID = user
			all = append(all, d)
		}
		if deleted {
			d := deletion(fmt.Sprintf("m%d_del", n))
			d.User.ID = user
			all = append(all, d)
		}
		all = append(all, rapid.SliceOfN(rapid.SampledFrom(all), 0, 5).Draw(rt, "duplicates")...)
		all = rapid.Permutation(all).Draw(rt, "order")
		var wg sync.WaitGroup
		for len(all) > 0 {
			size := rapid.IntRange(1, len(all)).Draw(rt, "batch")
			batch := all[:size]
			all = all[size:]
			wg.Go(func() { s.accept(t, batch...) })
		}
		wg.Wait()
		p := s.profile(t, user)
		if p.Deleted() != deleted {
			rt.Fatalf("deleted=%v, want %v", p.Deleted(), deleted)
		}
		if want := fmt.Sprintf("v%d@x.test", count-1); !deleted && p.Email != want {
			rt.Fatalf("e-mail %s, want %s", p.Email, want)
		}
	})
}

// Batches that hold the same users in different orders must not deadlock.
func TestAcceptConcurrentBatches(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for round := range 10 {
				var batch []lockstep.Delivery
				for _, u := range rand.Perm(50) {
					d := version(fmt.Sprintf("m_%d_%d_%d", w, round, u), int64(round*10+w), fmt.Sprintf("%d@x.test", w))
					d.User.ID = fmt.Sprintf("user_%d", u)
					batch = append(batch, d)
				}
				s.accept(t, batch...)
			}
		})
	}
	wg.Wait()
	if n := testdb.Query[int](t, s.pool, `select count(*) from public.profiles where email = '7@x.test'`); n != 50 {
		t.Errorf("%d of 50 profiles have the newest version", n)
	}
}

func TestPinInstance(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, instance := range []string{"ins_first", "ins_second", "ins_first"} {
		if got, err := s.PinInstance(t.Context(), instance); err != nil || got != "ins_first" {
			t.Errorf("pinned %q, %v", got, err)
		}
	}
}
