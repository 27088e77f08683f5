package inbox

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/medusa"
	"github.com/lockstephq/lockstep/shopify"
	"pgregory.net/rapid"
)

// TestWhoIsWho plays random interleavings of what users do in Clerk, of what
// merchants and shoppers do in a shop and in Medusa, of webhooks that are late,
// lost, doubled and out of order, and of a worker that is overtaken in mid-step,
// loses answers and dies. After each write it checks that nobody has two
// customers or somebody else's; at the end that every user has the one that is
// right, or a reason why not, and that a second sync writes nothing.
//
// What failed is told as a story. More of them: make soak.
func TestWhoIsWho(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := st.open(rt)
		rt.Repeat(map[string]func(*rapid.T){"something happens": s.step})
		s.end()
	})
	t.Logf("written by the worker: %v; the last look: %v", st.wrote, st.ended)
	if st.n < 100 {
		return // -short, or fewer were asked for
	}
	for what, n := range map[string]int{
		"create": st.wrote["create"], "adopt": st.wrote["adopt"], "update": st.wrote["update"], "release": st.wrote["release"],
		"linked": st.ended["linked"], "conflict": st.ended["conflict"], "waiting": st.ended["waiting"], "released": st.ended["released"],
	} {
		if n == 0 {
			t.Errorf("no story ever came to %s: too little is played", what)
		}
	}
}

// stage is what all stories share: one database, swept before each, and one
// emulated Shopify, with a shop for each. Medusa is another each time.
type stage struct {
	t      *testing.T
	pool   *pgxpool.Pool // the test's own hands
	worker *pgxpool.Pool
	medusa *pgxpool.Pool
	shops  *emulator.Shopify
	api    atomic.Pointer[emulator.Medusa] // of the story, behind apiURL
	apiURL string
	sweep  string
	n      int

	wrote, ended map[string]int // how often what was done, and how stories ended for a user
}

func newStage(t *testing.T) *stage {
	t.Helper()
	db := testdb.New(t)
	s := &stage{t: t, pool: testdb.Pool(t, db, ""), worker: testdb.Pool(t, db, testdb.Role), medusa: testdb.Pool(t, db, standin.Owner),
		wrote: map[string]int{}, ended: map[string]int{}}
	var err error
	if s.shops, err = emulator.NewShopify(emulator.ShopifyOptions{Seed: 1, SearchLag: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.shops.Close)
	server := httptest.NewServer(s.shops)
	t.Cleanup(server.Close)
	s.shops.SetBaseURL(server.URL)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.api.Load().ServeHTTP(w, r) }))
	t.Cleanup(door.Close)
	s.apiURL = door.URL
	s.sweep = "set session_replication_role = replica; " + testdb.Query[string](t, s.pool, `
		select string_agg(format('delete from %I.%I', schemaname, tablename), '; ') from pg_tables
		 where schemaname = 'lockstep' and tablename not in ('migrations', 'river_migration', 'adopted')
		    or (schemaname, tablename) in (('public', 'profiles'), ('medusa', 'customer'))`) + "; set session_replication_role = origin"
	return s
}

// open begins a story: nobody is there yet.
func (st *stage) open(rt *rapid.T) *story {
	if _, err := st.pool.Exec(st.t.Context(), st.sweep); err != nil {
		rt.Fatal(err)
	}
	st.n++
	shop, err := st.shops.AddShop(emulator.ShopSpec{Domain: fmt.Sprint("s", st.n)})
	if err != nil {
		rt.Fatal(err)
	}
	shop.SetRestoreRate(1e9)
	s := &story{T: rt, stage: st, clerk: newClerk()}
	target, err := shopify.New(shopify.Options{Shop: shop.Domain(), Tokens: shopify.StaticToken(shop.AccessToken()), APIURL: st.shops.APIURL(), Tags: []string{ownTag}})
	if err != nil {
		rt.Fatal(err)
	}
	s.stores = []*store{newStore(s, target, &shopHands{shop}), st.openMedusa(s)}
	s.stores[0].lose = func() {
		passed := slices.Repeat([]emulator.Fault{{Action: emulator.ActionPass}}, s.number("requests before the one whose answer is lost", 0, 2))
		s.must(st.shops.Faults.Script(shop.Name()+" mutation *", append(passed, emulator.Fault{Action: emulator.ActionDropAfter})...))
	}
	s.in, err = NewWorker(Config{Pool: st.worker, JobPool: st.worker, Targets: []lockstep.Target{s.stores[0], s.stores[1]}, Log: watch.Logger(st.t)})
	s.must(err)
	return s
}

// openMedusa is by SQL or by the Admin API. The API waits a minute before it makes
// a customer after an answer was lost, for which no story has the time.
func (st *stage) openMedusa(s *story) *store {
	if !rapid.Bool().Draw(s.T, "Medusa by its API") {
		return newStore(s, medusa.NewDatabase(st.medusa), &medusaHands{st.pool, st.t.Context()})
	}
	m := emulator.NewMedusa(emulator.MedusaOptions{Seed: 1})
	st.api.Store(m)
	o := medusa.APIOptions{URL: st.apiURL}
	for _, setting := range m.Settings() {
		switch setting.Name {
		case "MEDUSA_ADMIN_EMAIL":
			o.AdminEmail = setting.Value
		case "MEDUSA_ADMIN_PASSWORD":
			o.AdminPassword = setting.Value
		}
	}
	api, err := medusa.NewAPI(o)
	s.must(err)
	opened := newStore(s, api, &apiHands{m})
	opened.sure = true
	return opened
}

// story is one interleaving. Nothing runs by itself: the worker's steps, too, are
// taken one at a time, and others within them.
type story struct {
	*rapid.T
	stage  *stage
	in     *Inbox
	clerk  *clerkModel
	stores []*store
	told   []string
	depth  int // of steps within steps
	calm   bool
	broken any // rapid's panic, which must not end in the worker's recover
}

// tell adds a line to the story.
func (s *story) tell(format string, args ...any) {
	s.told = append(s.told, strings.Repeat("    ", s.depth)+fmt.Sprintf(format, args...))
}

// fail ends the story, told from its beginning.
func (s *story) fail(format string, args ...any) {
	s.Fatalf("%s\nThe story:\n  %s", fmt.Sprintf(format, args...), strings.Join(s.told, "\n  "))
}

func (s *story) must(err error) {
	if err != nil {
		s.fail("%v", err)
	}
}

func (s *story) number(what string, from, to int) int {
	return rapid.IntRange(from, to).Draw(s.T, what)
}

// pick draws one of a list that is not empty.
func pick[T any](s *story, what string, list []T) T { return list[s.number(what, 0, len(list)-1)] }

// happenings are all that may happen. Each says whether it could.
func (s *story) happenings() []func() bool {
	return []func() bool{
		s.work, s.webhook, s.dispatch, s.changeEmail, s.signUp, s.work, s.checkOut, s.notice, s.verify, s.capture, s.webhook,
		s.editEmail, s.work, s.editRest, s.deleteCustomer, s.changeEmail, s.dispatch, s.rename, s.checkOut, s.deleteUser, s.work, s.loseWebhook,
	}
}

// step lets one thing happen: the drawn one or, if it cannot, the next that can.
func (s *story) step(*rapid.T) {
	list := s.happenings()
	first := s.number("what happens", 0, len(list)-1)
	for i := range list {
		if list[(first+i)%len(list)]() {
			return
		}
	}
}

// meddle lets something happen in the middle of another's step.
func (s *story) meddle() {
	defer func() {
		if p := recover(); p != nil {
			s.broken = p
			panic(p)
		}
	}()
	s.depth++
	defer func() { s.depth-- }()
	s.step(s.T)
}

// end lets everything arrive and be worked off, reconciles, and looks at what has
// become of everybody.
func (s *story) end() {
	s.tell("In the end, everything arrives that was not lost.")
	s.calm = true
	for s.webhook() || s.notice() {
	}
	s.drain()
	s.jobsAreNotLost()
	s.reconcile()
	s.drain()
	s.minutesPass()
	s.drain()
	if left := s.reconcile(); len(left) > 0 {
		s.fail("reconciling finds %v, after reconciling", left)
	}
	s.drain()
	for _, st := range s.stores {
		s.everybodyIsRight(st)
	}
	s.secondSync()
}

// reconcile compares everything, and returns the kinds of drift that are not for
// a person.
func (s *story) reconcile() (kinds []lockstep.Drift) {
	r, err := s.in.Reconcile(s.stage.t.Context(), people(s.clerk.alive()), ReconcileOptions{Deep: true, Full: true, NoWait: true})
	s.must(err)
	for _, d := range r.Drift {
		s.tell("Reconciling finds %d of %s in %s.", d.Found, d.Kind, cmp.Or(d.Target, "Clerk"))
		if d.Kind != lockstep.DriftConflict {
			kinds = append(kinds, d.Kind)
		}
	}
	for _, step := range r.Steps {
		if !step.Walked {
			s.fail("reconciling did not walk %s of %s: %s", step.Name, step.Target, step.Reason)
		}
	}
	return kinds
}

// secondSync has everybody synced again, which writes nothing.
func (s *story) secondSync() {
	s.tell("Everybody is synced again.")
	before := maps.Clone(s.stage.wrote)
	for _, u := range s.clerk.users {
		if _, heard := s.profile(u.ID); heard {
			s.must(s.in.SyncUser(s.stage.t.Context(), u.ID))
		}
	}
	for what, n := range s.stage.wrote {
		if n != before[what] {
			s.fail("a second sync made %d more of %s", n-before[what], what)
		}
	}
}
