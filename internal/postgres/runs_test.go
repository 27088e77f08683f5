package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// Shallow runs come every few minutes, while a deep one walks for hours: what it
// has seen stays until it ends itself.
func TestCloseRunKeepsWhatAnotherSaw(t *testing.T) {
	t.Parallel()
	f := newStore(t)
	f.accept(t, version("m1", 100, "a@x.test"))
	open := func(deep bool) postgres.Run {
		r, err := f.OpenRun(t.Context(), postgres.RunSpec{Deep: deep, Targets: []string{}}, time.Minute)
		must(t, err)
		return r
	}
	unseen := func(r postgres.Run, want ...string) {
		t.Helper()
		got, err := f.UnseenUsers(t.Context(), r, true, "", 10)
		must(t, err)
		if !slices.Equal(got, want) {
			t.Errorf("not seen: %v, want %v", got, want)
		}
	}
	deep := open(true)
	unseen(deep, "user_1")
	must(t, pgx.BeginFunc(t.Context(), f.pool, func(tx pgx.Tx) error { return f.See(t.Context(), tx, deep, "", []string{"user_1"}) }))
	unseen(deep)
	must(t, f.CloseRun(t.Context(), open(false), "done", ""))
	unseen(deep)
	must(t, f.CloseRun(t.Context(), deep, "done", ""))
	unseen(deep, "user_1")
}
