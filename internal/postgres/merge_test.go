package postgres_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
)

func clerkUser(id string, version int64) lockstep.User {
	return lockstep.User{ID: "user_" + id, FirstName: fmt.Sprintf("Name%d", version), Email: id + "@example.test", EmailVerified: true,
		CreatedAt: time.UnixMilli(1), UpdatedAt: time.UnixMilli(version)}
}

// pooled is a store whose connections are used as through a pooler in
// transaction mode.
func pooled(t *testing.T) (*postgres.Store, *pgxpool.Pool) {
	t.Helper()
	config, err := pgxpool.ParseConfig(testdb.New(t).URL(standin.Owner))
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return postgres.NewStore(pool), pool
}

func merge(t *testing.T, s *postgres.Store, pool *pgxpool.Pool, users ...lockstep.User) (diff, merged []postgres.Merged) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
		if diff, err = s.DiffUsers(t.Context(), tx, users); err != nil {
			return err
		}
		merged, err = s.MergeUsers(t.Context(), tx, users)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return diff, merged
}

// Newer over older, a deletion for ever, and nothing written where nothing
// differs; what a dry run finds is what a merge does.
func TestMergeUsers(t *testing.T) {
	t.Parallel()
	s, pool := pooled(t)
	_, err := pool.Exec(t.Context(), `insert into public.profiles (id, username, first_name, email, email_verified, clerk_updated_at, deleted_at) values
		('user_newer', 'Future', 'Future', 'newer@example.test', true, to_timestamp(9), null),
		('user_same', 'Name5', 'Name5', 'same@example.test', true, to_timestamp(0.005), null),
		('user_edited', 'Name5', 'Someone', 'edited@example.test', true, to_timestamp(0.005), null),
		('user_dead', 'Old', 'Old', null, false, to_timestamp(0.001), now()),
		('user_version', 'Name5', 'Name5', 'version@example.test', true, to_timestamp(0.004), null)`)
	if err != nil {
		t.Fatal(err)
	}
	users := []lockstep.User{clerkUser("new", 4), clerkUser("new", 5), clerkUser("newer", 5), clerkUser("same", 5),
		clerkUser("edited", 5), clerkUser("dead", 5), clerkUser("version", 5)}
	want := []postgres.Merged{{UserID: "user_edited", Drift: lockstep.DriftProfileStale}, {UserID: "user_new", Drift: lockstep.DriftProfileMissing}}
	diff, merged := merge(t, s, pool, users...)
	if d := cmp.Diff(want, diff); d != "" {
		t.Errorf("a dry run (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want, merged); d != "" {
		t.Errorf("a merge (-want +got):\n%s", d)
	}
	got := testdb.Query[string](t, pool, `select string_agg(concat_ws(' ', id, first_name, extract(epoch from clerk_updated_at) * 1000, deleted_at is not null), E'\n' order by id) from public.profiles`)
	wantRows := "user_dead Old 1.000000 t\nuser_edited Name5 5.000000 f\nuser_new Name5 5.000000 f\nuser_newer Future 9000.000000 f\nuser_same Name5 5.000000 f\nuser_version Name5 5.000000 f"
	if d := cmp.Diff(wantRows, got); d != "" {
		t.Errorf("profiles (-want +got):\n%s", d)
	}
	before := testdb.Query[string](t, pool, `select string_agg(xmin::text || ctid::text, ' ' order by id) from public.profiles`)
	if diff, merged := merge(t, s, pool, users...); len(diff)+len(merged) != 0 {
		t.Errorf("again: %v %v", diff, merged)
	}
	if after := testdb.Query[string](t, pool, `select string_agg(xmin::text || ctid::text, ' ' order by id) from public.profiles`); after != before {
		t.Error("a page that changes nothing wrote something")
	}
}

// What an adopted row says of its own addresses does not count until Clerk says
// the same: then it is news to the targets, though no other column changes.
func TestClerkConfirmsAnAdoptedRow(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]string{"never": "'-infinity'", "null": "null"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, pool := pooled(t)
			_, err := pool.Exec(t.Context(), `alter table public.profiles alter clerk_updated_at drop not null;
				insert into public.profiles (id, username, first_name, email, email_verified, clerk_updated_at) values
				('user_merged', 'Name5', 'Name5', 'merged@example.test', true, `+version+`),
				('user_told', 'Name5', 'Name5', 'told@example.test', true, `+version+`)`)
			if err != nil {
				t.Fatal(err)
			}
			want := []postgres.Merged{{UserID: "user_merged", Drift: lockstep.DriftProfileStale}}
			diff, merged := merge(t, s, pool, clerkUser("merged", 5))
			if d := cmp.Diff(want, diff); d != "" {
				t.Errorf("a dry run (-want +got):\n%s", d)
			}
			if d := cmp.Diff(want, merged); d != "" {
				t.Errorf("a merge (-want +got):\n%s", d)
			}
			if diff, merged := merge(t, s, pool, clerkUser("merged", 5)); len(diff)+len(merged) != 0 {
				t.Errorf("again: %v %v", diff, merged)
			}
			told := lockstep.Delivery{Source: "clerk", ID: "m1", Kind: "user.updated", User: clerkUser("told", 5)}
			f := fixture{s, pool}
			if got := f.accept(t, told); !got[0].Changed {
				t.Errorf("Clerk's word on the e-mail changed nothing: %+v", got)
			}
			if p := f.profile(t, "user_told"); !p.EmailVerified {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestBuryUsers(t *testing.T) {
	t.Parallel()
	s, pool := pooled(t)
	merge(t, s, pool, clerkUser("a", 1))
	for i, want := range [][]string{{"user_a", "user_b"}, {}} {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			buried, err := s.BuryUsers(t.Context(), tx, []string{"user_b", "user_a", "user_a"})
			if len(buried) != len(want) {
				t.Errorf("round %d buried %v, want %v", i, buried, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, merged := merge(t, s, pool, clerkUser("a", 99)); len(merged) != 0 {
		t.Errorf("a deleted user came back: %v", merged)
	}
}

func TestAdvanceIsCompareAndSet(t *testing.T) {
	t.Parallel()
	s, pool := pooled(t)
	for i, step := range []struct {
		from, to string
		ok       bool
	}{{"", "1", true}, {"", "1", false}, {"1", "2", true}, {"1", "3", false}, {"2", "", true}, {"2", "", false}} {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return s.Advance(t.Context(), tx, "place", step.from, step.to) })
		if step.ok && err != nil || !step.ok && !errors.Is(err, postgres.ErrOvertaken) {
			t.Errorf("step %d: %v", i, err)
		}
	}
}

// A live change goes ahead of the bulk work that waits for the same link.
func TestLiveBumpOvertakesBulk(t *testing.T) {
	t.Parallel()
	s, pool := pooled(t)
	for i, step := range []struct {
		bulk bool
		jobs int
	}{{true, 1}, {true, 0}, {false, 1}, {false, 0}, {true, 0}, {false, 0}} {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			bump := s.Bump
			if step.bulk {
				bump = s.BumpBulk
			}
			keys, err := bump(t.Context(), tx, []string{"user_a"}, []string{"fake"})
			if len(keys) != step.jobs {
				t.Errorf("step %d made %d jobs, want %d", i, len(keys), step.jobs)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
