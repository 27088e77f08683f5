package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/internal/testdb"
)

const mapped = "public_metadata.marketing"

// saying is a version of user_1, who was made at 1, that says so about marketing.
func saying(id string, at int64, place, state string) lockstep.Delivery {
	d := version(id, at, "a@x.test")
	d.User.Consent = lockstep.Consent{Place: place, State: state}
	return d
}

// A word is as old as the version that brought it, but for one that is there at
// the first look. Older versions change nothing, nor does a word that stays.
func TestConsentsAreKept(t *testing.T) {
	t.Parallel()
	const yes, no, other = lockstep.Subscribed, lockstep.Unsubscribed, "unsafe_metadata.marketing"
	for name, steps := range map[string][]struct {
		d    lockstep.Delivery
		want postgres.Accepted
		says string
		at   int64
	}{
		"said, withdrawn and given again": {
			{saying("m1", 100, mapped, ""), applied, "", 0}, {saying("m2", 200, mapped, yes), applied, yes, 200},
			{saying("m3", 300, mapped, no), applied, no, 300}, {saying("m4", 400, mapped, yes), applied, yes, 400}},
		"it stays as old as it is": {
			{saying("m1", 100, mapped, ""), applied, "", 0}, {saying("m2", 200, mapped, yes), applied, yes, 200},
			{saying("m3", 300, mapped, yes), unchanged, yes, 200}},
		"an older version": {
			{saying("m1", 100, mapped, ""), applied, "", 0}, {saying("m3", 300, mapped, no), applied, no, 300},
			{saying("m2", 200, mapped, yes), stale, no, 300}},
		"there at the first look": {
			{saying("m1", 100, mapped, yes), applied, yes, 1}, {saying("m2", 200, mapped, no), applied, no, 200}},
		"mapped later": {
			{saying("m1", 100, "", ""), applied, "", 0}, {saying("m2", 200, mapped, yes), applied, yes, 1}},
		"mapped to another place": {
			{saying("m1", 100, mapped, no), applied, no, 1}, {saying("m2", 200, mapped, yes), applied, yes, 200},
			{saying("m3", 300, other, no), applied, no, 1}},
		"not mapped any more": {
			{saying("m1", 100, mapped, yes), applied, yes, 1}, {saying("m2", 200, "", ""), unchanged, yes, 1}},
		"taken back, which is nobody's news, and said again": {
			{saying("m1", 100, mapped, yes), applied, yes, 1}, {saying("m2", 200, mapped, ""), unchanged, "", 0},
			{saying("m3", 300, mapped, yes), applied, yes, 300}},
		"said by a deleted user": {
			{saying("m1", 100, mapped, no), applied, no, 1}, {deletion("m2"), applied, no, 1}, {saying("m3", 300, mapped, yes), stale, no, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			for i, step := range steps {
				if got := s.accept(t, step.d)[0]; got != step.want {
					t.Errorf("step %d: %+v, want %+v", i, got, step.want)
				}
				got := s.profile(t, "user_1").Consent
				if got.State != step.says || step.says != "" && !got.At.Equal(ms(step.at)) {
					t.Errorf("step %d: %+v, want %s since %d", i, got, step.says, step.at)
				}
			}
		})
	}
}

// Without a mapping there is no row; in one batch the newest version speaks.
func TestConsentsOfABatch(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.accept(t, version("m1", 100, "a@x.test"))
	if n := testdb.Query[int](t, s.pool, `select count(*) from lockstep.consents`); n != 0 {
		t.Errorf("%d rows without a mapping", n)
	}
	s.accept(t, saying("m2", 200, mapped, ""), saying("m4", 400, mapped, lockstep.Unsubscribed), saying("m3", 300, mapped, lockstep.Subscribed))
	if got := s.profile(t, "user_1").Consent; got.State != lockstep.Unsubscribed || got.Place != mapped {
		t.Errorf("%+v", got)
	}
}

// A walk through Clerk's users learns what they said before a place was mapped,
// though no profile changes; a dry run finds the same, and a second walk nothing.
func TestMergeLearnsConsents(t *testing.T) {
	t.Parallel()
	s, pool := pooled(t)
	users := []lockstep.User{clerkUser("no", 5), clerkUser("none", 5), clerkUser("yes", 5)}
	merge(t, s, pool, users...)
	users[0].Consent = lockstep.Consent{Place: mapped, State: lockstep.Unsubscribed}
	users[1].Consent = lockstep.Consent{Place: mapped}
	users[2].Consent = lockstep.Consent{Place: mapped, State: lockstep.Subscribed}
	diff, merged := merge(t, s, pool, users...)
	for _, found := range [][]postgres.Merged{diff, merged} {
		if len(found) != 2 || found[0] != (postgres.Merged{UserID: "user_no", Drift: lockstep.DriftProfileStale}) || found[1].UserID != "user_yes" {
			t.Errorf("found %v", found)
		}
	}
	if p, err := s.Profile(t.Context(), "user_yes"); err != nil || p.Consent.State != lockstep.Subscribed || !p.Consent.At.Equal(ms(1)) {
		t.Errorf("%+v, %v", p.Consent, err)
	}
	if n := testdb.Query[int](t, pool, `select count(*) from lockstep.consents`); n != 3 { // a word of user_none would be new from now on
		t.Errorf("%d users are known to have been looked at, want 3", n)
	}
	before := testdb.Query[string](t, pool, `select string_agg(xmin::text, ' ' order by clerk_user_id) from lockstep.consents`)
	if diff, merged := merge(t, s, pool, users...); len(diff)+len(merged) != 0 {
		t.Errorf("again: %v %v", diff, merged)
	}
	if after := testdb.Query[string](t, pool, `select string_agg(xmin::text, ' ' order by clerk_user_id) from lockstep.consents`); after != before {
		t.Error("a walk that finds nothing wrote something")
	}
}

// What a target refused is on the link until it takes a newer word.
func TestRefusedConsentIsRemembered(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.accept(t, saying("m1", 100, mapped, lockstep.Subscribed))
	k := postgres.Key{UserID: "user_1", Target: "shopify:acme.myshopify.com"}
	must(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		_, err := s.Bump(t.Context(), tx, []string{k.UserID}, []string{k.Target})
		return err
	}))
	claim, err := s.Claim(t.Context(), k, 0)
	must(t, err)
	if claim.Profile.Consent.State != lockstep.Subscribed {
		t.Errorf("a worker reads %+v", claim.Profile.Consent)
	}
	must(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		_, _, err := s.Finish(t.Context(), tx, claim, postgres.Outcome{CustomerID: "c", Status: lockstep.StatusLinked, Unheard: ms(1)})
		return err
	}))
	links, err := s.Links(t.Context(), k.UserID)
	must(t, err)
	if !links[0].RefusedConsent.Equal(ms(1)) {
		t.Errorf("the link is %+v", links[0])
	}
	must(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		held, err := s.HeldBy(t.Context(), tx, k.Target, []string{"c"}, nil)
		if len(held) != 1 || !held[0].Link.RefusedConsent.Equal(ms(1)) || held[0].Profile.Consent.State != lockstep.Subscribed {
			t.Errorf("capturing reads %+v", held)
		}
		return err
	}))
}
