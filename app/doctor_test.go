package app_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/targettest"
)

// examined is a target that has more to say than Check.
type examined struct {
	*targettest.Fake
	check error
}

func (e examined) Check(context.Context) error { return e.check }

func (e examined) Examine(context.Context) []lockstep.Finding {
	return []lockstep.Finding{{Name: "scope", State: lockstep.FindingWarning, Detail: "may write what it need not", Fix: "take the scope back"}}
}

func TestDoctorAsksEachTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.settings(nil)
	findings := app.Examine(t.Context(), func(name string) string { return all[name] }, watch.Logger(t),
		app.WithExtraTargets(targettest.NewFake("plain"), examined{targettest.NewFake("examined"), errors.New("the key was revoked")}))
	var got []lockstep.Finding
	for _, f := range findings {
		if f.Area == "plain" || f.Area == "examined" || f.Area == "medusa" {
			got = append(got, f)
		}
	}
	want := []lockstep.Finding{
		{Area: "medusa", Name: "check", State: lockstep.FindingOK},
		{Area: "plain", Name: "check", State: lockstep.FindingOK},
		{Area: "examined", Name: "check", State: lockstep.FindingFailed, Detail: "the key was revoked"},
		{Area: "examined", Name: "scope", State: lockstep.FindingWarning, Detail: "may write what it need not", Fix: "take the scope back"},
	}
	ignore := cmpopts.IgnoreFields(lockstep.Finding{}, "Fix", "Detail")
	if diff := cmp.Diff(want, got, ignore); diff != "" || got[2].Detail != want[2].Detail || got[2].Fix == "" || got[3] != want[3] {
		t.Errorf("%s\n%+v", diff, got)
	}
	if n := app.Failed(findings); n != 1 {
		t.Errorf("%d checks failed, want 1: %+v", n, findings)
	}
}

// Clerk's answers become states: what it refuses, what is away, what is not set.
func TestDoctorAsksClerk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		env  map[string]string
		want map[string]lockstep.FindingState
	}{
		"all is well": {map[string]string{"CLERK_JWT_KEY": ""}, map[string]lockstep.FindingState{
			"secret key": lockstep.FindingOK, "session tokens": lockstep.FindingWarning, "webhook secret": lockstep.FindingOK,
			"instance": lockstep.FindingOK, "deliveries": lockstep.FindingNotSet}},
		"refused": {map[string]string{"CLERK_SECRET_KEY": "sk_test_wrong", "CLERK_AUTHORIZED_PARTIES": "https://shop.example.test"},
			map[string]lockstep.FindingState{"secret key": lockstep.FindingFailed, "session tokens": lockstep.FindingOK}},
		"nobody there": {map[string]string{"CLERK_ISSUER": "http://127.0.0.1:1", "CLERK_JWT_KEY": ""},
			map[string]lockstep.FindingState{"session tokens": lockstep.FindingFailed}},
		"not set": {map[string]string{"CLERK_SECRET_KEY": "", "CLERK_WEBHOOK_SECRET": "", "CLERK_ISSUER": "", "CLERK_INSTANCE_ID": ""},
			map[string]lockstep.FindingState{"secret key": lockstep.FindingNotSet, "session tokens": lockstep.FindingNotSet,
				"webhook secret": lockstep.FindingNotSet, "instance": lockstep.FindingNotSet}},
		"database away": {map[string]string{"DATABASE_URL": "postgres://x@127.0.0.1:1/x"},
			map[string]lockstep.FindingState{"secret key": lockstep.FindingOK, "webhooks": lockstep.FindingNotChecked}},
		"no database": {map[string]string{"DATABASE_URL": ""},
			map[string]lockstep.FindingState{"secret key": lockstep.FindingOK, "webhooks": lockstep.FindingNotChecked}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := w.settings(tt.env)
			got := map[string]lockstep.FindingState{}
			for _, f := range app.Examine(t.Context(), func(name string) string { return all[name] }, watch.Logger(t)) {
				if f.Area == "clerk" {
					got[f.Name] = f.State
				}
			}
			for check, want := range tt.want {
				if got[check] != want {
					t.Errorf("%s is %q, want %q", check, got[check], want)
				}
			}
		})
	}
}

// A pooler is no hindrance to looking.
func TestDoctorThroughPooler(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	w := newWorldWith(t, setup{url: testdb.Pooler(t, db, testdb.PoolerOptions{})(testdb.Role), superuser: db.Superuser()})
	all := w.settings(nil)
	findings := app.Examine(t.Context(), func(name string) string { return all[name] }, watch.Logger(t))
	if n := app.Failed(findings); n != 0 || len(findings) < 50 {
		t.Errorf("%d of %d checks failed: %+v", n, len(findings), findings)
	}
}
