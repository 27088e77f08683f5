package inbox

import (
	"testing"

	"github.com/lockstephq/lockstep/targettest"
)

// What is done behind Lockstep's back is noted, and a shallow run need not read
// all links to find it.
func TestShallowRunHearsWhoLacksALink(t *testing.T) {
	t.Parallel()
	const users = 8
	b := settledLongAgo(t, users)
	const profile = `insert into public.profiles (id, username, clerk_updated_at, updated_at) `
	for _, c := range []struct {
		what, sql string
		want      int
	}{
		{"links deleted", `delete from lockstep.customer_links where clerk_user_id in ('user_000', 'user_001')`, 2},
		{"a delete of nothing", `delete from lockstep.customer_links where false`, 0},
		{"the user changed by hand", `update lockstep.customer_links set clerk_user_id = 'user_moved', customer_id = null where clerk_user_id = 'user_002'`, 1},
		{"a profile made by hand", profile + `values ('user_new', 'new', now(), now())`, 1},
		{"one brought from a backup", profile + `values ('user_old', 'old', now(), '2020-01-01')`, 1},
		{"one of an older kind", profile + `values ('0b0e7b1e', 'older', now(), '2020-01-01')`, 0},
		{"many links deleted", `insert into lockstep.customer_links (clerk_user_id, target) select 'user_x' || i, 'elsewhere' from generate_series(1, 10001) i;
			delete from lockstep.customer_links where clerk_user_id = 'user_003' or target = 'elsewhere'`, 1},
		{"many profiles copied in", profile + `select 'user_many' || i, 'many', now(), '2020-01-01' from generate_series(1, 20) i;
			insert into lockstep.reconcile_hints (clerk_user_id) values (null)`, 20},
		{"all links gone", `truncate lockstep.customer_links`, users + 22},
	} {
		b.exec(c.sql)
		b.finds(c.what, c.want)
		b.finds(c.what+", again", 0)
	}
}

// What no trigger saw is found when everything is compared: within the hour, and
// at once where a trigger is switched off.
func TestShallowRunComparesWhatIsNotNoted(t *testing.T) {
	t.Parallel()
	b := settledLongAgo(t, 5)
	const unheard = `set session_replication_role = replica; delete from lockstep.customer_links where clerk_user_id = 'user_000'; reset session_replication_role`
	b.exec(unheard)
	b.finds("not noted", 0)
	b.exec(`update lockstep.checkpoints set value = jsonb_set(value::jsonb, '{compared}', to_jsonb(now() - interval '61 minutes'))::text where name = 'reconcile_shallow'`)
	b.finds("an hour later", 1)
	b.exec(unheard)
	b.exec(`alter table lockstep.customer_links disable trigger lockstep_hint_deleted`)
	b.finds("a trigger is off", 1)
	b.finds("and stays off", 0)
}

// A run that is not remembered leaves the hints to the next: one that was dry.
func TestHintsStayUntilTheyAreHeard(t *testing.T) {
	t.Parallel()
	b := settledLongAgo(t, 3)
	b.exec(`delete from lockstep.customer_links where clerk_user_id = 'user_000'`)
	if r := b.reconcile(ReconcileOptions{DryRun: true}); foundKinds(r)["fake link-missing"] != 1 {
		t.Errorf("a dry run found %+v", r.Drift)
	}
	b.finds("after it", 1)
	b.eventually("the hints are dropped", `select count(*) = $1 from lockstep.reconcile_hints`, 0)
}

// settledLongAgo has n linked users who are found by nothing but a hint.
func settledLongAgo(t *testing.T, n int) *box {
	t.Helper()
	b := stocked(t, n, targettest.NewFake("fake"))
	b.exec(`update public.profiles set updated_at = now() - interval '3 hours'`)
	b.finds("nothing is wrong", 0)
	return b
}

// finds makes a shallow run, which must find so many links missing and nothing else.
func (b *box) finds(when string, want int) {
	b.t.Helper()
	r := b.reconcile(ReconcileOptions{})
	n := 0
	for _, d := range r.Drift {
		n += d.Found
	}
	if n != want || foundKinds(r)["fake link-missing"] != want {
		b.t.Errorf("%s: found %+v, want %d links missing", when, r.Drift, want)
	}
}
