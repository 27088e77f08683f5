package emulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUserLifeFollowsTheContract(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	created := call(t, c, "POST", "/v1/users", map[string]any{
		"email_address": []string{"ada@example.test", "ada.two@example.test"}, "phone_number": []string{"+15555550100"},
		"first_name": "Ada", "username": "ada", "password": "correct horse", "created_at": "2025-01-02T03:04:05.678Z",
		"external_id": "prof_1", "public_metadata": map[string]any{"tier": "gold"},
	})
	wantStatus(t, created, http.StatusOK, "")
	u := decode[User](t, created.Body.Bytes())
	if u.PrimaryEmail() != "ada@example.test" || !u.EmailAddresses[1].Verified() || u.PrimaryPhone() != "+15555550100" {
		t.Errorf("identifications: %s", created.Body)
	}
	if u.CreatedAt != time.Date(2025, 1, 2, 3, 4, 5, 678e6, time.UTC).UnixMilli() {
		t.Errorf("created_at %d", u.CreatedAt)
	}
	user := "/v1/users/" + u.ID
	for _, step := range []struct {
		method, path string
		body         any
		want         func(User) bool
	}{
		{"GET", "", nil, func(u User) bool { return *u.ExternalID == "prof_1" }},
		{"PATCH", "", `{"first_name":null,"last_name":"Lovelace"}`, func(u User) bool { return u.FirstName == nil && *u.LastName == "Lovelace" && *u.Username == "ada" }},
		{"PATCH", "", map[string]any{"primary_email_address_id": u.EmailAddresses[0].ID}, func(u User) bool { return u.PrimaryEmail() == "ada.two@example.test" }},
		{"POST", "/ban", nil, func(u User) bool { return u.Banned }},
		{"POST", "/unban", nil, func(u User) bool { return !u.Banned }},
		{"POST", "/lock", nil, func(u User) bool { return u.Locked && *u.LockoutExpiresInSeconds > 0 }},
		{"POST", "/unlock", nil, func(u User) bool { return !u.Locked && u.LockoutExpiresInSeconds == nil }},
	} {
		w := call(t, c, step.method, user+step.path, step.body)
		wantStatus(t, w, http.StatusOK, "")
		if !step.want(decode[User](t, w.Body.Bytes())) {
			t.Errorf("%s %s: %s", step.method, step.path, w.Body)
		}
	}
	wantStatus(t, call(t, c, "GET", "/v1/users/count", nil), http.StatusOK, "")
	deleted := call(t, c, "DELETE", user, nil)
	if want := fmt.Sprintf(`{"object":"user","id":%q,"deleted":true}`, u.ID); strings.TrimSpace(deleted.Body.String()) != want {
		t.Errorf("deleted: %s, want %s", deleted.Body, want)
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		wantStatus(t, call(t, c, method, user, nil), http.StatusNotFound, "resource_not_found")
	}
}

func TestEveryKindOfUserFollowsTheContract(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	for _, strategy := range []string{"", "none", "email_link", "admin", "ticket", "saml", "scim", "from_oauth_google", "from_oauth_github"} {
		for _, verified := range []bool{false, true} {
			mustCreate(t, c, UserSpec{Email: fmt.Sprintf("u%s%v@example.test", strategy, verified), Verified: verified, Strategy: strategy})
		}
	}
	mustCreate(t, c, UserSpec{})
	mustCreate(t, c, UserSpec{Phone: "+15555550101", PhoneVerified: true, Deprovisioned: true, Locked: true, Banned: true})
	mustCreate(t, c, UserSpec{Email: "Mixed.Case@Example.test", ExtraEmails: []EmailSpec{{Address: "r@example.test", Reserved: true}}, Password: true})
	w := call(t, c, "GET", "/v1/users?limit=500", nil)
	wantStatus(t, w, http.StatusOK, "")
	if users := decode[[]User](t, w.Body.Bytes()); len(users) != c.UserCount() {
		t.Errorf("%d users listed, want %d", len(users), c.UserCount())
	}
}

func TestUpdateUser(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	u := mustCreate(t, c, UserSpec{Email: "ada@example.test", Verified: true, Phone: "+15555550100", FirstName: "Ada"})
	for _, step := range []struct {
		name   string
		change UserChange
		want   func(User) bool
	}{
		{"new address is unverified", UserChange{Email: new("new@example.test")}, func(u User) bool {
			return u.PrimaryEmail() == "new@example.test" && len(u.EmailAddresses) == 1 && !u.EmailAddresses[0].Verified()
		}},
		{"verified", UserChange{Verified: new(true)}, func(u User) bool { return u.EmailAddresses[0].Verified() }},
		{"second address becomes primary", UserChange{AddEmails: []EmailSpec{{Address: "b@example.test", Verified: true}}, PrimaryEmail: new("b@example.test")}, func(u User) bool {
			return u.PrimaryEmail() == "b@example.test" && len(u.EmailAddresses) == 2
		}},
		{"address removed", UserChange{RemoveEmails: []string{"B@example.test"}}, func(u User) bool { return u.PrimaryEmailAddressID == nil && len(u.EmailAddresses) == 1 }},
		{"phone verified", UserChange{PhoneVerified: new(true)}, func(u User) bool { return u.PhoneNumbers[0].Verified() && u.PrimaryPhone() == "+15555550100" }},
		{"phone removed", UserChange{Phone: new("")}, func(u User) bool { return u.PrimaryPhoneNumberID == nil && len(u.PhoneNumbers) == 0 }},
		{"name removed", UserChange{FirstName: new(""), Username: new("ada"), ImageURL: new("https://img.clerk.com/x")}, func(u User) bool {
			return u.FirstName == nil && *u.Username == "ada" && u.HasImage
		}},
		{"flags", UserChange{Banned: new(true), Locked: new(true), Deprovisioned: new(true), SignedIn: true}, func(u User) bool {
			return u.Banned && u.Locked && u.Deprovisioned && *u.LastSignInAt == u.UpdatedAt
		}},
		{"nothing but a version", UserChange{}, func(u User) bool { return true }},
	} {
		before := u.UpdatedAt
		var err error
		if u, err = c.UpdateUser(u.ID, step.change); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if !step.want(u) || u.UpdatedAt <= before {
			t.Errorf("%s: %+v", step.name, u)
		}
		wantStatus(t, call(t, c, "GET", "/v1/users/"+u.ID, nil), http.StatusOK, "")
	}
	if _, err := c.UpdateUser(u.ID, UserChange{PrimaryEmail: new("nobody@example.test")}); err == nil {
		t.Error("a foreign address became primary")
	}
}

func TestTimesAreStrictlyMonotonic(t *testing.T) {
	t.Parallel()
	still := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := newTestClerk(t, ClerkOptions{Now: func() time.Time { return still }})
	last := still.UnixMilli() - 1
	for range 5 {
		u := mustCreate(t, c, UserSpec{})
		if u.CreatedAt <= last || u.UpdatedAt <= u.CreatedAt {
			t.Fatalf("created %d, updated %d after %d", u.CreatedAt, u.UpdatedAt, last)
		}
		last = u.UpdatedAt
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	u := mustCreate(t, c, UserSpec{PublicMetadata: map[string]any{"a": map[string]any{"x": 1.0, "y": 2.0}, "b": "keep"}, PrivateMetadata: map[string]any{"p": true}})
	path := "/v1/users/" + u.ID + "/metadata"
	merged := decode[User](t, call(t, c, "PATCH", path, `{"public_metadata":{"a":{"x":null,"z":{"n":null,"m":3}},"c":[1]}}`).Body.Bytes())
	want := map[string]any{"a": map[string]any{"y": 2.0, "z": map[string]any{"m": 3.0}}, "b": "keep", "c": []any{1.0}}
	if diff := cmp.Diff(want, merged.PublicMetadata); diff != "" {
		t.Errorf("merge: %s", diff)
	}
	if diff := cmp.Diff(map[string]any{"p": true}, merged.PrivateMetadata); diff != "" {
		t.Errorf("private metadata was not asked for: %s", diff)
	}
	replaced := decode[User](t, call(t, c, "PUT", path, `{"public_metadata":{"only":null}}`).Body.Bytes())
	if diff := cmp.Diff(map[string]any{"only": nil}, replaced.PublicMetadata); diff != "" {
		t.Errorf("replace: %s", diff)
	}
	big := fmt.Sprintf(`{"private_metadata":{"x":%q}}`, strings.Repeat("x", maxMetadata))
	wantStatus(t, call(t, c, "PATCH", path, big), http.StatusUnprocessableEntity, codeParamInvalid)
	wantStatus(t, call(t, c, "PATCH", path, `{"first_name":"x"}`), http.StatusUnprocessableEntity, codeParamUnknown)
	wantStatus(t, call(t, c, "PATCH", "/v1/users/user_none/metadata", `{}`), http.StatusNotFound, "resource_not_found")
	if now, _ := c.User(u.ID); now.UpdatedAt != replaced.UpdatedAt {
		t.Error("a refused change made a version")
	}
}

func TestAPIVersion(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	u := mustCreate(t, c, UserSpec{PublicMetadata: map[string]any{"old": 1}})
	patch := func(version, query string) (int, string) {
		header := http.Header{"Authorization": {"Bearer " + c.SecretKey()}}
		if version != "" {
			header.Set("Clerk-API-Version", version)
		}
		w := callWith(t, c, "PATCH", "/v1/users/"+u.ID+query, `{"public_metadata":{"new":true}}`, header)
		return w.Code, w.Body.String()
	}
	for _, test := range []struct {
		version, query string
		want           int
	}{
		{"", "", http.StatusUnprocessableEntity},
		{"2026-05-12", "", http.StatusUnprocessableEntity},
		{"2025-11-10", "", http.StatusOK},
		{"", "?__clerk_api_version=2021-02-05", http.StatusOK},
		{"2026-05-12", "?__clerk_api_version=2026-05-12", http.StatusBadRequest},
		{"latest", "", http.StatusBadRequest},
		{"2099-01-01", "", http.StatusBadRequest},
	} {
		if got, body := patch(test.version, test.query); got != test.want {
			t.Errorf("version %q%s: %d, want %d: %s", test.version, test.query, got, test.want, body)
		}
	}
	now, _ := c.User(u.ID)
	if diff := cmp.Diff(map[string]any{"new": true}, now.PublicMetadata); diff != "" {
		t.Errorf("older versions replace metadata: %s", diff)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	mustCreate(t, c, UserSpec{Email: "taken@example.test", Verified: true, Username: "taken", ExternalID: "ext"})
	other := mustCreate(t, c, UserSpec{ExtraEmails: []EmailSpec{{Address: "u@example.test"}}})
	user := "/v1/users/" + other.ID
	for _, test := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/v1/users", `{"email_address":["Taken@example.test"]}`, 422, codeTaken},
		{"POST", "/v1/users", `{"username":"TAKEN"}`, 422, codeTaken},
		{"POST", "/v1/users", `{"nickname":"x"}`, 422, codeParamUnknown},
		{"POST", "/v1/users", `{"first_name":1}`, 422, codeParamInvalid},
		{"POST", "/v1/users", `[]`, 400, "request_body_invalid"},
		{"PATCH", user, `{"external_id":"ext"}`, 422, codeTaken},
		{"PATCH", user, `{"primary_email_address_id":"` + other.EmailAddresses[0].ID + `"}`, 422, codeParamInvalid},
		{"PATCH", user, `{"primary_phone_number_id":"idn_none"}`, 422, codeParamInvalid},
		{"POST", "/v1/users/user_none/ban", ``, 404, "resource_not_found"},
		{"GET", "/v1/organizations", ``, 404, "resource_not_found"},
	} {
		wantStatus(t, call(t, c, test.method, test.path, test.body), test.status, test.code)
	}
	if now, _ := c.User(other.ID); now.UpdatedAt != other.UpdatedAt || c.UserCount() != 2 {
		t.Error("a refused request changed something")
	}
}

func TestIdentifiersAreFreeAgain(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	spec := UserSpec{Email: "ada@example.test", Verified: true, Username: "ada"}
	first := mustCreate(t, c, spec)
	mustCreate(t, c, UserSpec{Email: "ada@example.test"}) // unverified addresses may be shared
	if _, err := c.CreateUser(spec); err == nil {
		t.Fatal("two users verified one address")
	}
	if err := c.DeleteUser(first.ID); err != nil {
		t.Fatal(err)
	}
	if again := mustCreate(t, c, spec); again.ID == first.ID {
		t.Error("an id was used twice")
	}
}

func TestSecretKeyIsRequired(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	for _, path := range []string{"/v1/users", "/v1/users/count", "/v1/users/user_x", "/v1/jwks"} {
		for _, authorization := range []string{"", "Bearer", "Bearer sk_test_wrong", c.SecretKey()} {
			w := callWith(t, c, "GET", path, nil, http.Header{"Authorization": {authorization}})
			wantStatus(t, w, http.StatusUnauthorized, "clerk_key_invalid")
			if w.Header().Get("Clerk-Trace-Id") == "" {
				t.Error("no trace id")
			}
		}
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := newTestClerk(t, ClerkOptions{RateLimit: DevelopmentRateLimit, Now: func() time.Time { return now }})
	u := mustCreate(t, c, UserSpec{})
	for range userWriteLimit {
		wantStatus(t, call(t, c, "PATCH", "/v1/users/"+u.ID+"/metadata", `{}`), http.StatusOK, "")
	}
	limited := call(t, c, "PATCH", "/v1/users/"+u.ID, `{}`)
	wantStatus(t, limited, http.StatusTooManyRequests, codeTooMany)
	for range DevelopmentRateLimit - userWriteLimit - 1 {
		wantStatus(t, call(t, c, "GET", "/v1/users", nil), http.StatusOK, "")
	}
	now = now.Add(2500 * time.Millisecond)
	limited = call(t, c, "GET", "/v1/users", nil)
	wantStatus(t, limited, http.StatusTooManyRequests, codeTooMany)
	if got := limited.Header().Get("Retry-After"); got != "8" {
		t.Errorf("Retry-After %q, want 8: 7.5 s rounded up", got)
	}
	wantStatus(t, call(t, c, "GET", "/v1/jwks", nil), http.StatusOK, "")
	now = now.Add(8 * time.Second)
	wantStatus(t, call(t, c, "PATCH", "/v1/users/"+u.ID, `{}`), http.StatusOK, "")
}

func TestDevelopmentInstanceHolds100Users(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{MaxUsers: DevelopmentMaxUsers})
	for range DevelopmentMaxUsers {
		mustCreate(t, c, UserSpec{})
	}
	wantStatus(t, call(t, c, "POST", "/v1/users", `{}`), http.StatusForbidden, "user_quota_exceeded")
}

func TestIDsHaveClerksForm(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	u := mustCreate(t, c, UserSpec{Email: "ada@example.test"})
	ids := []string{u.ID, u.EmailAddresses[0].ID, c.InstanceID()}
	for i, prefix := range []string{"user_", "idn_", "ins_"} {
		digits, found := strings.CutPrefix(ids[i], prefix)
		if !found || len(digits) != 27 || strings.Trim(digits, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("id %q", ids[i])
		}
	}
	same := newTestClerk(t, ClerkOptions{Seed: 1})
	if same.SecretKey() != c.SecretKey() || same.InstanceID() != c.InstanceID() || !slices.Equal(same.options.WebhookSecrets, c.options.WebhookSecrets) {
		t.Error("one seed gave two secrets")
	}
}
