package emulator

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// serve makes a request that needs no key.
func serve(c *Clerk, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

func control[T any](t *testing.T, c *Clerk, method, path, body string) T {
	t.Helper()
	w := serve(c, method, controlPrefix+path, body)
	if w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return decode[T](t, w.Body.Bytes())
}

type anyJSON = map[string]any

func TestControlUsers(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	u := control[User](t, c, "POST", "users", `{"email":"ada@example.test","verified":true,"extra_emails":[{"address":"b@example.test"}],"phone":"+15555550100","first_name":"Ada"}`)
	if u.EmailAddresses[0].EmailAddress != "b@example.test" || u.PrimaryEmail() != "ada@example.test" || u.EmailAddresses[0].Verified() {
		t.Errorf("user: %+v", u)
	}
	changed := control[User](t, c, "PATCH", "users/"+u.ID, `{"email":"new@example.test","verified":true,"first_name":""}`)
	if changed.PrimaryEmail() != "new@example.test" || changed.FirstName != nil {
		t.Errorf("changed: %+v", changed)
	}
	if got := control[anyJSON](t, c, "GET", "users/count", ""); got["count"] != 1.0 {
		t.Errorf("count: %v", got)
	}
	control[anyJSON](t, c, "DELETE", "users/"+u.ID, "")
	if w := serve(c, "DELETE", controlPrefix+"users/"+u.ID, ""); w.Code != http.StatusNotFound {
		t.Errorf("deleted twice: %d", w.Code)
	}
	if w := serve(c, "POST", controlPrefix+"users", `{"mail":"x"}`); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "mail") {
		t.Errorf("a misspelt name: %d %s", w.Code, w.Body)
	}
}

func TestControlTokensAndKeys(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	token := control[map[string]string](t, c, "POST", "users/user_x/token?shape=jwt_template", `{"claims":{"exp":null},"azp":"https://a.example.test","iat":1700000000,"lifetime_s":5}`)["token"]
	_, claims := parseToken(t, c, token)
	if claims["sub"] != "user_x" || claims["exp"] != nil || claims["azp"] != "https://a.example.test" || claims["iat"] != 1.7e9 {
		t.Errorf("claims: %v", claims)
	}
	kid := control[map[string]string](t, c, "POST", "keys", "")["kid"]
	control[anyJSON](t, c, "DELETE", "keys/"+c.InstanceID(), "")
	header, _ := parseToken(t, c, control[map[string]string](t, c, "POST", "users/user_x/token", "")["token"])
	if header["kid"] != kid {
		t.Errorf("kid %v, want %s", header["kid"], kid)
	}
}

func TestControlWebhooks(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	options := receiving(rc)
	url := options.WebhookURL
	options.WebhookURL = ""
	c := newTestClerk(t, options)
	control[anyJSON](t, c, "PUT", "webhook", fmt.Sprintf(`{"url":%q,"duplicate":1}`, url))
	id := control[map[string]string](t, c, "POST", "events", `{"type":"session.created","data":{"object":"session"}}`)["id"]
	control[anyJSON](t, c, "POST", "messages/wait", "")
	if got := rc.ids(); len(got) != 2 || got[1] != id {
		t.Errorf("ids: %v", got)
	}
	control[anyJSON](t, c, "PUT", "webhook", "")
	control[anyJSON](t, c, "POST", "webhook/hold", "")
	held := control[map[string]string](t, c, "POST", "events/example", "")["id"]
	lost := control[map[string]string](t, c, "POST", "events", `{"type":"x"}`)["id"]
	control[anyJSON](t, c, "POST", "messages/"+lost+"/lose", "")
	control[anyJSON](t, c, "POST", "webhook/release", `{"ids":["`+held+`"]}`)
	control[anyJSON](t, c, "POST", "webhook/release", `{"shuffle":true}`)
	control[anyJSON](t, c, "POST", "messages/"+id+"/resend", "")
	control[anyJSON](t, c, "POST", "messages/wait", "")
	type list struct{ Messages []Message }
	if got := control[list](t, c, "GET", "messages?state=lost", "").Messages; len(got) != 1 || got[0].ID != lost {
		t.Errorf("lost: %+v", got)
	}
	if got := control[list](t, c, "GET", "messages?type=session.created", "").Messages; len(got) != 1 || got[0].Attempts != 3 {
		t.Errorf("sent: %+v", got)
	}
}

func TestControlFaults(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	const rules = `{"rules":[{"route":"GET *","script":[{"action":"refuse","status":500}]},{"route":"*","rate":1,"fault":{"action":"refuse"}}]}`
	control[anyJSON](t, c, "PUT", "faults", rules)
	wantStatus(t, call(t, c, "GET", "/v1/users", nil), http.StatusInternalServerError, "internal_clerk_error")
	wantStatus(t, call(t, c, "GET", "/v1/users", nil), http.StatusServiceUnavailable, "internal_clerk_error")
	left := control[struct{ Rules []Rule }](t, c, "GET", "faults", "").Rules
	if len(left) != 2 || len(left[0].Script) != 0 {
		t.Errorf("rules: %+v", left)
	}
	control[anyJSON](t, c, "DELETE", "faults", "")
	wantStatus(t, call(t, c, "GET", "/v1/users", nil), http.StatusOK, "")
	counts := control[struct{ Requests []Count }](t, c, "GET", "requests", "").Requests
	if len(counts) != 3 {
		t.Errorf("requests: %+v", counts)
	}
	if w := serve(c, "PUT", controlPrefix+"faults", `{"rules":[{"rate":2}]}`); w.Code != http.StatusBadRequest {
		t.Errorf("a bad rule: %d", w.Code)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	c.SetBaseURL("http://127.0.0.1:9400/")
	settings := control[map[string]string](t, c, "GET", "settings", "")
	if settings["CLERK_API_URL"] != "http://127.0.0.1:9400" || settings["CLERK_ISSUER"] != "http://127.0.0.1:9400" || len(settings) != 6 {
		t.Errorf("settings: %v", settings)
	}
	lines := map[Setting]string{
		{"A", "plain-1_2.3:/"}:  "A=plain-1_2.3:/",
		{"B", "two\nlines"}:     "B='two\nlines'",
		{"C", "it's"}:           `C='it'\''s'`,
		{"D", "whsec_a+b/c=,d"}: "D=whsec_a+b/c=,d",
	}
	for setting, want := range lines {
		if got := setting.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestEveryControlRouteIsDocumented compares the source with docs/EMULATORS.md.
func TestEveryControlRouteIsDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/EMULATORS.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*control.go")
	if err != nil {
		t.Fatal(err)
	}
	route := regexp.MustCompile(`handleControl\(mux, "([A-Z]+)", "([^"]+)"`)
	found := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range route.FindAllStringSubmatch(string(source), -1) {
			found++
			if heading := fmt.Sprintf("`%s %s%s`", match[1], controlPrefix, match[2]); !strings.Contains(string(doc), heading) {
				t.Errorf("%s is not in docs/EMULATORS.md", heading)
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d routes only", found)
	}
}
