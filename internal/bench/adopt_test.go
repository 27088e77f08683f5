package bench_test

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/standin"
)

// profilesVariable sets how many profiles BenchmarkAdopt carries over.
const profilesVariable = "LOCKSTEP_BENCH_PROFILES"

const adoptRounds = 3

// oldProfiles is Supabase's recipe: a key of type uuid that refers to
// auth.users, a trigger there, policies on auth.uid().
const oldProfiles = `
	insert into auth.users (id) select gen_random_uuid() from generate_series(1, %d);
	create table public.profiles (
	  id uuid primary key references auth.users on delete cascade,
	  username text not null, avatar_url text, created_at timestamptz not null default now(), updated_at timestamptz not null default now());
	create function public.handle_new_user() returns trigger language plpgsql as 'begin insert into public.profiles (id, username) values (new.id, ''user''); return new; end';
	create trigger on_auth_user_created after insert on auth.users for each row execute function public.handle_new_user();
	alter table public.profiles enable row level security;
	create policy "Own profile" on public.profiles using (auth.uid() = id);
	insert into public.profiles (id, username, avatar_url) select id, 'user ' || left(id::text, 8), 'https://img.example.test/' || id from auth.users;
	create table public.bare as select * from public.profiles order by id;
	truncate public.profiles;
	insert into public.profiles select * from public.bare;
	alter table public.bare add primary key (id)`

// BenchmarkAdopt measures `migrate up` on a database with profiles of another
// making, beside the bare change of the key's type on a copy of the table: in
// turns, each round in a database of its own.
func BenchmarkAdopt(b *testing.B) {
	profiles := 1_000_000
	if text := os.Getenv(profilesVariable); text != "" {
		n, err := strconv.Atoi(text)
		must(b, err)
		profiles = n
	}
	w := newWorld(b)
	seed := w.database(b, "adopt_seed")
	_, err := seed.Exec(b.Context(), fmt.Sprintf(oldProfiles, profiles))
	must(b, err)
	seed.Close()
	var bare, up, ratios []float64
	for round := range adoptRounds {
		name := fmt.Sprintf("adopt_%d", round)
		_, err := w.admin.Exec(b.Context(), `create database `+name+` template adopt_seed owner postgres`)
		must(b, err)
		if round%2 == 0 {
			bare, up = append(bare, w.bareChange(b, name)), append(up, w.adoptAll(b, name, profiles))
		} else {
			up, bare = append(up, w.adoptAll(b, name, profiles)), append(bare, w.bareChange(b, name))
		}
		ratios = append(ratios, up[round]/bare[round])
	}
	table(fmt.Sprintf("migrate up on %d profiles of another making (medians of %d rounds, in turns)", profiles, adoptRounds),
		"|seconds|ratio", fmt.Sprintf("alter table … alter id type text using id::text|%.2f|1.00", median(bare)),
		fmt.Sprintf("migrate up|%.2f|%.2f", median(up), median(ratios)), "aim||1.50")
	b.ReportMetric(median(ratios), "ratio-to-bare")
}

func (w *world) bareChange(b *testing.B, database string) float64 {
	b.Helper()
	pool := connect(b, w.pg.URL(standin.Owner, database))
	defer pool.Close()
	w.checkpoint(b)
	start := time.Now()
	_, err := pool.Exec(b.Context(), `alter table public.bare alter id type text using id::text`)
	took := time.Since(start)
	must(b, err)
	return took.Seconds()
}

func (w *world) adoptAll(b *testing.B, database string, profiles int) float64 {
	b.Helper()
	pool := connect(b, w.pg.URL(standin.Owner, database))
	defer pool.Close()
	w.checkpoint(b)
	m := postgres.Migrator{Pool: pool, MedusaSchema: medusaSchema, Log: slog.New(slog.DiscardHandler)}
	start := time.Now()
	must(b, m.Up(b.Context()))
	took := time.Since(start)
	if n := count(b, pool, `select count(*) from public.profiles where id ~ '^[0-9a-f-]{36}$' and not email_verified and username like 'user %'`); n != profiles {
		b.Fatalf("%d of %d profiles are there", n, profiles)
	}
	return took.Seconds()
}
