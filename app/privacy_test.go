package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/targettest"
)

// tattlers make the database quote rows in its errors: by a message, by a
// detail and by a cast, in every table that Lockstep writes for a user.
const tattlers = `
create function public.tattle() returns trigger language plpgsql as $$
begin raise exception 'refused %', new.email using detail = new.email, hint = new.email; end $$;
create function public.cast_email() returns trigger language plpgsql as $$
begin perform new.email::int; return new; end $$;
create trigger tattle before insert on public.profiles for each row when (new.last_name = 'Canary Profile') execute function public.tattle();
create trigger tattle_cast before insert on public.profiles for each row when (new.last_name = 'Canary Cast') execute function public.cast_email();
create trigger tattle_remember before update of medusa_customer_id on public.profiles
  for each row when (new.last_name = 'Canary Remember') execute function public.tattle();
create trigger tattle before insert on medusa.customer for each row when (new.last_name = 'Canary Customer') execute function public.tattle();
alter table public.profiles add constraint tattle check (last_name <> 'Canary Row');
alter table medusa.customer add constraint tattle check (last_name <> 'Canary Check');
insert into medusa.customer (id, email, has_account, created_at, updated_at) values ('cus_foreign', 'canary.conflict@example.test', true, now(), now())`

// noTattlers takes them away, one lock at a time: workers are busy.
var noTattlers = []string{
	`drop trigger tattle on public.profiles`,
	`drop trigger tattle_cast on public.profiles`,
	`drop trigger tattle_remember on public.profiles`,
	`drop trigger tattle on medusa.customer`,
	`alter table public.profiles drop constraint tattle`,
	`alter table medusa.customer drop constraint tattle`,
}

// tee keeps the bodies of all answers that a client gets.
type tee struct{ bodies buffer }

func (t *tee) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	_, _ = t.bodies.Write(append(body, '\n'))
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, err
}

// Guarantee 7: whatever goes wrong, nothing personal and no secret gets into
// logs, answers, metrics, traces, job errors or reasons. All personal data here
// says "canary", and so do the secrets that may be chosen.
func TestNothingPersonalIsLogged(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	pg := newCluster(t)
	migrate(t, pg.URL(standin.Owner, ""))
	u, err := url.Parse(pg.URL(standin.Owner, ""))
	must(t, err)
	u.User = url.UserPassword(standin.Owner, canary) // the server trusts anyway
	log, answers, spans := &buffer{}, &tee{}, newCollector(t)
	env := map[string]string{"LOCKSTEP_OPERATOR_TOKEN": operatorToken, "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url + "/" + canary}
	shop := canaryShop(t, env)
	w := newWorldWith(t, setup{url: u.String(), superuser: pg.URL("", ""), env: env, log: log, client: &http.Client{Transport: answers},
		options: []app.Option{app.WithTargets(func(t lockstep.Target) lockstep.Target {
			return targettest.NewFlaky(t, targettest.Rates{Seed: 1, Fail: 0.3, After: 0.34})
		})}})
	w.alter(tattlers)
	w.provoke()
	w.badRequests(answers)
	w.askAsOperator(answers)
	for _, sql := range noTattlers {
		w.alter(sql)
	}
	w.misbehave(shop)
	for range 2 {
		w.population("restart")
		must(t, pg.Restart(t.Context()))
	}
	w.delivered()
	w.eventually("all are in step", `select count(*) = 0 from lockstep.customer_links where applied < desired and status <> 'failed'`)

	metrics := w.request(http.MethodGet, "/metrics", nil, nil).body
	probes := w.request(http.MethodGet, "/readyz", nil, nil).body + w.operate("GET", "status", "").body + w.operate("GET", "conflicts", "").body
	w.asked()
	must(t, w.wait()) // the last spans are sent, the last lines logged
	everything := map[string]string{"log": log.String(), "answers": answers.bodies.String(), "database": w.notes(),
		"metrics": metrics, "probes": probes, "traces": spans.bodies.String()}
	for what, text := range everything {
		w.wantNoCanary(what, text)
	}
	for what, proofs := range map[string][]string{
		"log":      {"target paused", "operator request failed", "webhook refused"},
		"database": {"P0001", "23514", "injected fault", "cus_foreign"},
		"answers":  {"NOT_FOUND", "BAD_REQUEST", "UNAUTHORIZED", "UPSTREAM_UNAVAILABLE", "PAYLOAD_TOO_LARGE"},
		"metrics":  {`outcome="transient"`, `outcome="unknown"`, `outcome="refused"`, `outcome="throttled"`, `reason="signature"`, `reason="unavailable"`},
		"probes":   {"cus_foreign", `"worker":true`},
		"traces":   {"POST /webhooks/clerk", "GET /v1/operator/users/{id}", "river.work/sync", "target create", "transient"},
	} {
		for _, proof := range proofs {
			if !strings.Contains(everything[what], proof) {
				t.Errorf("%s: nothing tells of %s: the test provoked too little", what, proof)
			}
		}
	}
	if !strings.Contains(everything["log"]+everything["database"], "22P02") {
		t.Error("nothing tells of 22P02: the test provoked too little")
	}
}

// alter changes tables that are in use: a deadlock with whoever uses them rolls
// the change back, and it is tried again.
func (w *world) alter(sql string) {
	w.t.Helper()
	w.waitFor("tables are altered", func(ctx context.Context) bool {
		_, err := w.pool.Exec(ctx, sql)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "40P01" {
			return false
		}
		must(w.t, err)
		return true
	})
}

// canaryUser makes a user of whom every field is recognisable.
func (w *world) canaryUser(last, mail string) emulator.User {
	w.t.Helper()
	n := w.clerk.UserCount()
	u, err := w.clerk.CreateUser(emulator.UserSpec{Username: fmt.Sprintf("%s_%d", canary, n), FirstName: "Canary", LastName: last,
		Email: "Canary." + mail + "@Example.test", Verified: true, Phone: fmt.Sprintf("+1555555%04d", n), PhoneVerified: true})
	must(w.t, err)
	return u
}

func (w *world) population(name string) {
	w.t.Helper()
	for range 10 {
		w.canaryUser("Canary", fmt.Sprintf("%s.%d", name, w.clerk.UserCount()))
	}
}

// provoke makes every way in which the database quotes a row happen.
func (w *world) provoke() {
	w.t.Helper()
	for _, last := range []string{"Canary Profile", "Canary Cast", "Canary Row"} {
		w.canaryUser(last, last[7:])
		w.answered(w.lastMessage(), http.StatusServiceUnavailable)
	}
	w.population("usual")
	const reason = `select exists (select 1 from lockstep.customer_links where clerk_user_id = $1 and target = 'medusa' and reason like $2)`
	for last, why := range map[string]string{"Canary Customer": "%P0001%", "Canary Remember": "%P0001%", "Canary Check": "%23514%", "Canary": "%cus_foreign%"} {
		mail := strings.TrimPrefix(last, "Canary ")
		if mail == "Canary" {
			mail = "conflict"
		}
		u := w.canaryUser(last, mail)
		w.eventually(last+" fails as "+why, reason, u.ID, why)
	}
}

// badRequests asks for every error that a sender can cause, with canaries
// wherever it can put some.
func (w *world) badRequests(answers *tee) {
	w.t.Helper()
	post := func(path string, h http.Header, body string) {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+path, strings.NewReader(body))
		must(w.t, err)
		for name, values := range h {
			req.Header[name] = values
		}
		resp, err := answers.RoundTrip(req)
		must(w.t, err)
		if resp.StatusCode < 400 {
			w.t.Errorf("%s with %q: %d", path, body[:min(len(body), 50)], resp.StatusCode)
		}
	}
	signed := func(body string) {
		post("/webhooks/clerk", signature(w.t, w.secret(), "msg_"+canary, time.Now(), body), body)
	}
	event := strings.ReplaceAll(userEvent("user.created", 1000), "ada", canary)
	signed(`{"type":"` + canary)
	signed(`{"type":"user.created","data":{"id":"` + canary + `"}}`)
	signed(`{"type":"user.created","data":"` + canary + `"}`)
	signed(strings.Replace(event, `{`, `{"instance_id":"ins_`+canary+`",`, 1))
	signed(event + strings.Repeat(canary, 200_000))
	post("/webhooks/clerk", http.Header{"Svix-Id": {canary}}, event)
	post("/webhooks/clerk", http.Header{"Svix-Id": {canary}, "Svix-Timestamp": {canary}, "Svix-Signature": {canary}}, event)
	post("/webhooks/clerk", signature(w.t, "whsec_"+strings.Repeat("B", 32), canary, time.Now(), event), event)
	post("/webhooks/"+canary+"?email="+canary+"@example.test", nil, event)
	post("/v1/me", http.Header{"Authorization": {"Bearer " + canary}}, event)
	post("/v1/me/sync", http.Header{"Authorization": {"Bearer " + canary + "." + canary + "." + canary}}, event)
}

// notes is all that the database holds for people to read about the work.
func (w *world) notes() string {
	w.t.Helper()
	return testdb.Query[string](w.t, w.pool, `select string_agg(line, E'\n') from (
		select concat_ws(' ', kind, state, args, errors::text, metadata, tags) as line from lockstep.river_job
		union all select concat_ws(' ', clerk_user_id, target, status, reason, blocked_by) from lockstep.customer_links
		union all select h::text from lockstep.history h
		union all select t::text from lockstep.targets t
		union all select d::text from lockstep.deliveries d
		union all select c::text from lockstep.checkpoints c) x`)
}

func (w *world) wantNoCanary(what, text string) {
	w.t.Helper()
	settings := w.settings(nil)
	for name, secret := range map[string]string{"canary": canary, "phone": "+1555555",
		"CLERK_WEBHOOK_SECRET": settings["CLERK_WEBHOOK_SECRET"], "CLERK_SECRET_KEY": settings["CLERK_SECRET_KEY"],
		"SHOPIFY_ACCESS_TOKEN": settings["SHOPIFY_ACCESS_TOKEN"], "caller": "203.0.113.77"} {
		i := strings.Index(strings.ToLower(text), strings.ToLower(secret))
		if i >= 0 {
			w.t.Errorf("%s: %s: …%s…", what, name, text[max(0, i-300):min(len(text), i+100)])
		}
	}
}
