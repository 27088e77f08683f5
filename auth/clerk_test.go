package auth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/auth"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/emulator"
)

const userRoute = "GET /v1/users/{user_id}"

// world is a guarded server with Clerk's real verifier and client before an
// emulated Clerk, over sockets.
type world struct {
	*emulator.Clerk
	url string
}

func newWorld(t testing.TB) world {
	t.Helper()
	server, err := emulator.NewClerk(emulator.ClerkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	server.SetBaseURL(listener.URL)
	t.Cleanup(func() { listener.Close(); server.Close() })
	verifier, err := clerk.NewTokenVerifier(clerk.TokenConfig{Issuer: server.Issuer()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := clerk.NewClient(clerk.ClientConfig{SecretKey: server.SecretKey(), BaseURL: listener.URL})
	if err != nil {
		t.Fatal(err)
	}
	guard, err := auth.New(auth.Config{Verifier: verifier, Fetch: fetch(client), TTL: time.Hour, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	guarded := httptest.NewServer(guard.RequireAuth(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := auth.FromContext(r.Context())
		w.Header().Set("X-User-Id", session.UserID)
		w.Header().Set("X-Actor", session.Claims.(*clerk.Claims).Actor.UserID)
	})))
	t.Cleanup(guarded.Close)
	return world{server, guarded.URL}
}

func fetch(client *clerk.Client) auth.Fetch {
	return func(ctx context.Context, userID string) (lockstep.Profile, error) {
		user, err := client.GetUser(ctx, userID)
		if errors.Is(err, clerk.ErrNotFound) {
			return lockstep.Profile{}, auth.ErrNoUser
		}
		return lockstep.Profile{ID: user.ID, Username: user.ProfileName(), Banned: user.Barred()}, err
	}
}

func (w world) call(t testing.TB, spec emulator.TokenSpec) *http.Response {
	t.Helper()
	token, err := w.MintToken(spec)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer
}

func TestClerkSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	user, err := w.CreateUser(emulator.UserSpec{FirstName: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	banned, err := w.CreateUser(emulator.UserSpec{Banned: true})
	if err != nil {
		t.Fatal(err)
	}
	off, err := w.CreateUser(emulator.UserSpec{Deprovisioned: true})
	if err != nil {
		t.Fatal(err)
	}
	locked, err := w.CreateUser(emulator.UserSpec{Locked: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		spec emulator.TokenSpec
		want int
	}{
		"session":          {emulator.TokenSpec{UserID: user.ID}, 200},
		"impersonated":     {emulator.TokenSpec{UserID: user.ID, Shape: "session_impersonated"}, 200},
		"pending":          {emulator.TokenSpec{UserID: user.ID, Shape: "session_pending"}, 403},
		"template":         {emulator.TokenSpec{UserID: user.ID, Shape: "jwt_template"}, 401},
		"machine":          {emulator.TokenSpec{UserID: user.ID, Shape: "m2m_jwt"}, 401},
		"expired by 1 min": {emulator.TokenSpec{UserID: user.ID, IssuedAt: time.Now().Add(-2 * time.Minute)}, 401},
		"banned":           {emulator.TokenSpec{UserID: banned.ID}, 403},
		"deprovisioned":    {emulator.TokenSpec{UserID: off.ID}, 403},
		"locked":           {emulator.TokenSpec{UserID: locked.ID}, 200},
		"nobody":           {emulator.TokenSpec{UserID: "user_2tSYNTHnobody"}, 401},
	} {
		answer := w.call(t, test.spec)
		if answer.StatusCode != test.want || (test.want == 200) != (answer.Header.Get("X-User-Id") == test.spec.UserID) {
			t.Errorf("%s: %d, want %d", name, answer.StatusCode, test.want)
		}
		if (name == "impersonated") != (answer.Header.Get("X-Actor") != "") {
			t.Errorf("%s: actor %q", name, answer.Header.Get("X-Actor"))
		}
	}
}

func TestFirstCallsOfOneUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	user, err := w.CreateUser(emulator.UserSpec{FirstName: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			if answer := w.call(t, emulator.TokenSpec{UserID: user.ID}); answer.StatusCode != 200 {
				t.Errorf("status %d", answer.StatusCode)
			}
		})
	}
	group.Wait()
	if n := w.Faults.Total(userRoute); n != 1 {
		t.Errorf("%d calls of Clerk, want 1", n)
	}
}

// While Clerk is away, known users are served and new ones asked to come back;
// afterwards nobody needs to restart anything.
func TestClerkAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ids []string
	for range 2 {
		user, err := w.CreateUser(emulator.UserSpec{FirstName: "Ada"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, user.ID)
	}
	known, fresh := emulator.TokenSpec{UserID: ids[0]}, emulator.TokenSpec{UserID: ids[1]}
	if answer := w.call(t, known); answer.StatusCode != 200 {
		t.Fatal(answer.Status)
	}
	if err := w.Faults.Set(emulator.Rule{Rate: 1, Fault: emulator.Fault{Action: emulator.ActionDropBefore}}); err != nil {
		t.Fatal(err)
	}
	if answer := w.call(t, known); answer.StatusCode != 200 {
		t.Errorf("known user: %s", answer.Status)
	}
	if answer := w.call(t, fresh); answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
		t.Errorf("new user: %s", answer.Status)
	}
	if err := w.Faults.Set(); err != nil {
		t.Fatal(err)
	}
	if answer := w.call(t, fresh); answer.StatusCode != 200 {
		t.Errorf("Clerk is back: %s", answer.Status)
	}
}
