package app_test

import (
	"net/http"
	"testing"

	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/testdb"
)

// TestBannedAndSwitchedOff: who is banned, or switched off by directory sync, is
// refused everywhere, and keeps the customer. A lock is Clerk's own, for a while.
func TestBannedAndSwitchedOff(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, setup{env: map[string]string{"CLERK_AUTHORIZED_PARTIES": "https://shop.example.test", "MEDUSA_ON_DELETE": "delete"}})
	for name, tt := range map[string]struct {
		change, back emulator.UserChange
		want         int
	}{
		"banned":        {emulator.UserChange{Banned: new(true)}, emulator.UserChange{Banned: new(false)}, http.StatusForbidden},
		"deprovisioned": {emulator.UserChange{Deprovisioned: new(true)}, emulator.UserChange{Deprovisioned: new(false)}, http.StatusForbidden},
		"locked":        {emulator.UserChange{Locked: new(true)}, emulator.UserChange{Locked: new(false)}, http.StatusOK},
	} {
		id := w.create(name).ID
		w.eventually(name+" is linked", isLinked, id)
		token := w.token(emulator.TokenSpec{UserID: id})
		customer := testdb.Query[string](t, w.pool, `select customer_id from lockstep.customer_links where clerk_user_id = $1`, id)
		for _, step := range []struct {
			change emulator.UserChange
			want   int
		}{{tt.change, tt.want}, {tt.back, http.StatusOK}} {
			_, err := w.clerk.UpdateUser(id, step.change)
			must(t, err)
			w.delivered()
			for _, path := range []string{"/v1/me", "/v1/auth"} {
				if resp, body := w.call("GET", path, token); resp.StatusCode != step.want {
					t.Errorf("%s, %s: %d %s, want %d", name, path, resp.StatusCode, body, step.want)
				}
			}
			w.eventually(name+" is settled", isLinked, id)
			if n := testdb.Query[int](t, w.pool, `select count(*) from lockstep.customer_links l join medusa.customer c on c.id = l.customer_id
				where l.clerk_user_id = $1 and l.status = 'linked' and l.customer_id = $2 and c.deleted_at is null and c.metadata ->> 'clerk_user_id' = $1`, id, customer); n != 1 {
				t.Errorf("%s: the customer was not kept", name)
			}
		}
	}
}

// TestDeletedIsHiddenAtOnce: as soon as the deletion is acknowledged, the user's
// own select finds nothing, and no call is answered.
func TestDeletedIsHiddenAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, setup{env: map[string]string{"CLERK_AUTHORIZED_PARTIES": "https://shop.example.test"}})
	id := w.create("ada").ID
	w.delivered()
	token := w.token(emulator.TokenSpec{UserID: id})
	rows := func() int {
		tx, err := w.pool.Begin(t.Context())
		must(t, err)
		defer func() { must(t, tx.Rollback(t.Context())) }()
		_, err = tx.Exec(t.Context(), `select set_config('request.jwt.claims', json_build_object('sub', $1::text, 'role', 'authenticated')::text, true)`, id)
		must(t, err)
		_, err = tx.Exec(t.Context(), `set local role authenticated`)
		must(t, err)
		var n int
		must(t, tx.QueryRow(t.Context(), `select count(*) from public.profiles`).Scan(&n))
		return n
	}
	if n := rows(); n != 1 {
		t.Fatalf("the user sees %d profiles", n)
	}
	w.me(token, "")
	must(t, w.clerk.DeleteUser(id))
	w.delivered()
	if n := rows(); n != 0 {
		t.Errorf("a deleted user sees %d profiles", n)
	}
	for _, path := range []string{"/v1/me", "/v1/auth"} {
		if resp, body := w.call("GET", path, token); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}
