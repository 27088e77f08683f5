package clerk

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// population is 1200 users, of whom 700 were imported with one moment of
// creation.
func population(t *testing.T, w world) (ids []string) {
	t.Helper()
	base := time.Now().Add(-time.Hour)
	for i := range 1200 {
		at := base.Add(time.Duration(i) * time.Millisecond)
		if i >= 300 && i < 1000 {
			at = base.Add(300 * time.Millisecond)
		}
		ids = append(ids, w.create(t, emulator.UserSpec{FirstName: "Ada", CreatedAt: at}))
	}
	return ids
}

func TestListUsers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		fate  int // the status of a request with a cursor; 0 serves it, ignored reads past the cursor
		calls int
	}{
		{"by cursor", 0, 3},
		{"the cursor is refused", http.StatusUnprocessableEntity, 5},
		{"the cursor is a bad request", http.StatusBadRequest, 5},
		{"the cursor is ignored", ignored, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, emulator.ClerkOptions{})
			ids := population(t, w)
			api := &oldAPI{RoundTripper: w.client.http.Transport, fate: test.fate}
			w.client.http.Transport = api
			seen := walk(t, w.client, func([]lockstep.User) {})
			for i, id := range ids {
				if n := seen[id]; n == 0 || (n > 1 && test.fate == 0) {
					t.Fatalf("user %d came %d times", i, n)
				}
			}
			if len(seen) != len(ids) || api.calls != test.calls {
				t.Errorf("%d users in %d calls, want %d in %d", len(seen), api.calls, len(ids), test.calls)
			}
		})
	}
}

// Users who are deleted during the walk, the one at the cursor among them, must
// not make it miss others.
func TestListUsersWhileTheyAreDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.ClerkOptions{})
	ids := population(t, w)
	gone := map[string]bool{}
	seen := walk(t, w.client, func(page []lockstep.User) {
		for _, user := range []lockstep.User{page[0], page[len(page)/2], page[len(page)-2], page[len(page)-1]} {
			if gone[user.ID] {
				continue // seen before: pages overlap
			}
			gone[user.ID] = true
			if err := w.DeleteUser(user.ID); err != nil {
				t.Fatal(err)
			}
		}
	})
	for i, id := range ids {
		if seen[id] == 0 && !gone[id] {
			t.Errorf("user %d was missed", i)
		}
	}
}

const ignored = -1

// oldAPI is an API from before starting_after.
type oldAPI struct {
	http.RoundTripper
	fate  int
	calls int
}

func (a *oldAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	a.calls++
	query := r.URL.Query()
	if a.fate == 0 || !query.Has("starting_after") {
		return a.RoundTripper.RoundTrip(r)
	}
	if a.fate != ignored {
		w := httptest.NewRecorder()
		w.WriteHeader(a.fate)
		_, _ = w.WriteString(`{"errors":[{"code":"form_param_unknown"}]}`)
		return w.Result(), nil
	}
	query.Del("starting_after")
	r = r.Clone(r.Context())
	r.URL.RawQuery = query.Encode()
	return a.RoundTripper.RoundTrip(r)
}

// Read by change, the newest comes first; who changes meanwhile or is deleted
// takes nobody else along.
func TestListChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.ClerkOptions{})
	ids := population(t, w)
	seen, moved := map[string]bool{}, map[string]bool{}
	var last time.Time
	for page, more := 0, true; more; page++ {
		users, again, err := w.client.ListChanged(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		more = again
		for _, u := range users {
			if page == 0 && !last.IsZero() && u.UpdatedAt.After(last) {
				t.Fatal("a newer change comes after an older one")
			}
			seen[u.ID], last = true, u.UpdatedAt
		}
		moved[ids[100+page]] = true
		if _, err := w.UpdateUser(ids[100+page], emulator.UserChange{LastName: new("New")}); err != nil {
			t.Fatal(err)
		}
		for _, u := range users[:min(50, len(users))] {
			_ = w.DeleteUser(u.ID) // the overlap may hold some who are gone already
		}
	}
	for i, id := range ids {
		if !seen[id] && !moved[id] {
			t.Fatalf("user %d was missed", i)
		}
	}
}
