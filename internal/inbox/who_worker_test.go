package inbox

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
)

// job is one that waits in the job engine's table, of which the story takes them.
type job struct {
	id   int64
	user string
	to   string
}

func (s *story) query(sql string, args ...any) pgx.Rows {
	rows, err := s.stage.pool.Query(s.stage.t.Context(), sql, args...)
	s.must(err)
	return rows
}

func (s *story) exec(sql string, args ...any) {
	_, err := s.stage.pool.Exec(s.stage.t.Context(), sql, args...)
	s.must(err)
}

func (s *story) jobs() (list []job) {
	var j job
	_, err := pgx.ForEachRow(s.query(`select id, args ->> 'user', args ->> 'target' from lockstep.river_job where kind = 'sync' order by id`),
		[]any{&j.id, &j.user, &j.to}, func() error { list = append(list, j); return nil })
	s.must(err)
	return list
}

// dispatch does what a dispatchWorker does with its job.
func (s *story) dispatch() bool {
	ctx, did := s.stage.t.Context(), false
	s.must(s.in.inTx(ctx, func(tx pgx.Tx) error {
		var users []string
		var at time.Time
		err := tx.QueryRow(ctx, `delete from lockstep.river_job where id = (select min(id) from lockstep.river_job where kind = 'dispatch')
			returning array(select jsonb_array_elements_text(args -> 'users')), created_at`).Scan(&users, &at)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		did = true
		keys, err := s.in.store.BumpSince(ctx, tx, users, s.in.names, at)
		if err != nil {
			return err
		}
		s.tell("%s is dispatched.", strings.Join(users, " and "))
		return s.in.enqueue(ctx, tx, keys)
	}))
	return did
}

// work has the worker take one job and go one round.
func (s *story) work() bool {
	jobs := s.jobs()
	if len(jobs) == 0 || s.depth > 1 {
		return false
	}
	j := jobs[0]
	if !s.calm {
		j = pick(s, "which job", jobs)
	}
	st := s.store(j.to)
	outer := st.scene
	st.scene = s.newScene(st)
	defer func() { st.scene = outer }()
	s.tell("The worker works for %s in %s.", j.user, st.title)
	s.depth++
	defer func() { s.depth-- }()
	more, err := s.in.round(s.stage.t.Context(), st, postgres.Key{UserID: j.user, Target: j.to}, func(tx pgx.Tx) error {
		_, err := tx.Exec(s.stage.t.Context(), `delete from lockstep.river_job where id = $1`, j.id)
		return err
	})
	if s.broken != nil {
		panic(s.broken)
	}
	if st.wrong != "" {
		s.fail("%s", st.wrong)
	}
	s.after(st, err)
	if more {
		s.tell("The user changed meanwhile: the job stays.")
	}
	return true
}

// after is what becomes of a round that failed.
func (s *story) after(st *store, err error) {
	failed, isRound := errors.AsType[*roundError](err)
	switch _, busy := errors.AsType[*postgres.BusyError](err); {
	case err == nil:
		return
	case busy:
		s.tell("Another is busy with the two.")
		return
	case isRound && st.scene.killed:
		s.tell("Its lease ends.")
		s.exec(`update lockstep.customer_links set lease_until = null where clerk_user_id = $1 and target = $2`, failed.claim.UserID, failed.claim.Target)
		return
	case !isRound || lockstep.KindOf(err) != lockstep.ErrUnknown: // who was overtaken looks again, and decides anew
		s.fail("the round failed: %v", err)
	}
	s.tell("It gives up for now: %s.", lockstep.KindOf(err))
	s.must(s.in.store.Unclaim(s.stage.t.Context(), failed.claim, err.Error()))
}

// notice delivers a webhook of the shop: which customer may have changed.
func (s *story) notice() bool {
	st := s.stores[0]
	if len(st.changed) == 0 {
		return false
	}
	i := 0
	if !s.calm {
		i = s.number("which customer", 0, len(st.changed)-1)
	}
	id := st.changed[i]
	if st.changed = slices.Delete(st.changed, i, i+1); !s.calm && s.number("lost", 0, 3) == 3 {
		s.tell("A webhook of the shop's about %s is lost.", st.name(id))
		return true
	}
	st.notices++
	r := &request{notice: &lockstep.Notice{Source: "shopify", ID: st.Name() + " " + id + " " + time.Duration(st.notices).String(), Target: st.Name(),
		Kind: "customers/update", Customers: []string{id}}}
	_, err := s.in.commit(s.stage.t.Context(), []*request{r})
	s.must(err)
	s.tell("A webhook of the shop's arrives, about %s.", st.name(id))
	return true
}

// capture reads the customers of the shop that may have changed.
func (s *story) capture() bool {
	ctx, st := s.stage.t.Context(), s.stores[0]
	if s.calm {
		s.exec(`update lockstep.shopify_changes set due_at = now()`)
	}
	target, ok := lockstep.As[lockstep.Capturer](st)
	if !ok {
		s.fail("the shop cannot be captured")
	}
	found, _, err := s.in.captureRound(ctx, target)
	s.must(err)
	if found > 0 {
		s.tell("The shop's changes are read.")
	}
	return found > 0
}

// drain has everything worked off that waits.
func (s *story) drain() {
	for n := 0; s.dispatch() || s.capture() || s.work(); n++ {
		if n == 300 {
			s.fail("it never ends")
		}
	}
}

// jobsAreNotLost: whatever changed was worked off by the jobs that were made for
// it, without the sweep for lost ones.
func (s *story) jobsAreNotLost() {
	for _, l := range s.links() {
		if l.Pending {
			s.fail("the change of %s in %s has no job", l.UserID, l.Target)
		}
	}
}

// minutesPass is the sweep, eleven minutes later.
func (s *story) minutesPass() {
	s.tell("Eleven minutes pass.")
	s.exec(`update lockstep.customer_links set updated_at = updated_at - interval '11 minutes'`)
	s.must(s.in.sweep(s.stage.t.Context()))
}

func (s *story) links() (all []lockstep.Link) {
	for _, u := range s.clerk.users {
		links, err := s.in.store.Links(s.stage.t.Context(), u.ID)
		s.must(err)
		all = append(all, links...)
	}
	return all
}

func (s *story) profile(id string) (lockstep.Profile, bool) {
	p, err := s.in.store.Profile(s.stage.t.Context(), id)
	if errors.Is(err, postgres.ErrNoProfile) {
		return p, false
	}
	s.must(err)
	return p, true
}

func (s *story) link(user, target string) lockstep.Link {
	links, err := s.in.store.Links(s.stage.t.Context(), user)
	s.must(err)
	return linkTo(links, target)
}

// everybodyIsRight looks at each user once all is quiet.
func (s *story) everybodyIsRight(st *store) {
	all := st.look()
	for _, u := range s.clerk.users {
		p, heard := s.profile(u.ID)
		l := s.link(u.ID, st.Name())
		own := withMark(all, u.ID)
		s.tell("%s in %s is %s with %s: %s", u.ID, st.title, l.Status, st.name(l.CustomerID), l.Reason)
		if heard {
			s.stage.ended[string(l.Status)]++
		}
		switch {
		case !heard && u.Deleted && len(own) == 0:
		case !heard || l.Pending || p.Deleted() != u.Deleted || len(own) > 1:
			s.fail("%s is not in step: heard of %v, pending %v, deleted %v, %d customers", u.ID, heard, l.Pending, p.Deleted(), len(own))
		case u.Deleted:
			if len(own) > 0 || l.Status != lockstep.StatusReleased && l.UserID != "" {
				s.fail("%s is deleted, and yet %d customers carry the mark; %+v", u.ID, len(own), l)
			}
		case p.Email != u.Email || p.EmailVerified != u.EmailVerified || p.FirstName != u.FirstName:
			s.fail("the profile of %s is another: %+v", u.ID, p)
		default:
			s.aliveIsRight(st, all, u, l)
		}
	}
}

func (s *story) aliveIsRight(st *store, all []held, u *lockstep.User, l lockstep.Link) {
	own := withMark(all, u.ID)
	email := lockstep.NormalEmail(u.Email)
	others := slices.DeleteFunc(slices.Clone(all), func(h held) bool { return h.email != email || email == "" || h.mark == u.ID })
	switch l.Status {
	case lockstep.StatusLinked:
		if len(own) != 1 || own[0].id != l.CustomerID || own[0].first != u.FirstName || u.EmailVerified && own[0].email != email || !own[0].tidy {
			s.fail("%s is linked to %s and should not be: %+v", u.ID, st.name(l.CustomerID), own)
		}
	case lockstep.StatusWaiting:
		if l.Reason == "" || u.EmailVerified || len(own) > 0 || len(others) == 0 {
			s.fail("%s waits for nothing: %s; %+v", u.ID, l.Reason, others)
		}
	case lockstep.StatusConflict:
		cause := slices.ContainsFunc(others, func(h held) bool {
			return h.id == l.BlockedBy && (len(own) > 0 || len(others) > 1 || h.mark != "" || h.account)
		})
		if l.Reason == "" || !cause || strings.Contains(l.Reason, "@") {
			s.fail("%s is in conflict, blocked by %s, without a cause: %s; %+v", u.ID, st.name(l.BlockedBy), l.Reason, others)
		}
	default:
		s.fail("%s is %s: %s", u.ID, l.Status, l.Reason)
	}
	p, _ := s.profile(u.ID)
	if st.title == "Medusa" && p.MedusaCustomerID != l.CustomerID {
		s.fail("the profile of %s names %s, the link %s", u.ID, st.name(p.MedusaCustomerID), st.name(l.CustomerID))
	}
}

func withMark(all []held, user string) (own []held) {
	for _, h := range all {
		if h.mark == user {
			own = append(own, h)
		}
	}
	return own
}

var _ lockstep.Wrapper = (*store)(nil)

// scene is one round of the worker: what goes wrong in it.
type scene struct {
	fault    string // befalls the first write; empty for none
	meddlers int    // how many more may come between
	killed   bool
	doubt    bool // the last write may have taken place, and nobody has looked yet
}

// The faults of a scene.
const (
	answerLost  = "the answer is lost"
	requestLost = "the request is lost"
	killedAfter = "the worker is killed after the write"
)

func (s *story) newScene(st *store) *scene {
	faults := []string{"", "", "", killedAfter, answerLost, requestLost}
	switch {
	case s.calm:
		return &scene{}
	case st.sure:
		faults = faults[:4]
	}
	return &scene{fault: pick(s, "fault", faults), meddlers: s.number("meddlers", 0, 3)}
}

// lostWrite is an error that says nothing about whether something was written.
func lostWrite() error { return &lockstep.TargetError{Kind: lockstep.ErrUnknown} }

// play is a write in a scene: others come first, then it is done, or half done.
func (st *store) play(ctx context.Context, what, user string, write func() (lockstep.Customer, error)) (c lockstep.Customer, err error) {
	sc := st.scene
	if sc.doubt {
		st.wrong = "after a write whose outcome is unknown, to " + what + " without a look"
	}
	defer func() { sc.doubt = lockstep.KindOf(err) == lockstep.ErrUnknown && err != nil }()
	for n := st.story.number("how many meddle now", 0, sc.meddlers); n > 0; n-- {
		sc.meddlers--
		st.story.meddle()
	}
	fault := sc.fault
	sc.fault = ""
	before := st.look()
	if fault == requestLost {
		st.story.tell("It wants to %s: the request is lost.", what)
		return c, lostWrite()
	}
	if fault == answerLost && st.lose != nil {
		st.lose()
		defer func() { st.story.must(st.story.stage.shops.Faults.Set()) }()
	}
	c, err = write()
	st.judge(what, user, before, st.look())
	switch {
	case err == nil && fault == killedAfter:
		st.story.tell("The worker is killed.")
		sc.killed = true
		return lockstep.Customer{}, errors.New("killed")
	case err == nil && fault == answerLost && st.lose == nil:
		st.story.tell("The answer is lost.")
		return lockstep.Customer{}, lostWrite()
	case err != nil:
		st.story.tell("It fails: %v.", err)
	}
	return c, err
}
